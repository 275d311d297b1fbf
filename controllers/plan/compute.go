package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// computation is one call of Compute.
type computation struct {
	in Input
	// readers and traits are the tables of kinds.
	readers []reader
	traits  func(config.Kind) config.Traits
	all     []*node
	byName  map[string]*node
	errs    field.ErrorList
	// prefixRefused: the subject prefix is wrong, so nothing is said of subjects.
	prefixRefused bool
	maxBytes      int64
	warnings      []string
	// requests are the subjects on which stages ask others.
	requests []requested
}

func newComputation(in Input) *computation {
	return &computation{in: in, readers: readers[:], traits: config.Kind.Traits}
}

func (c *computation) refuse(err *field.Error) { c.errs = append(c.errs, err) }

// Compute plans a pipeline. A plan is returned only without refusals; those name every
// problem there is, not just the first.
//
// The field path of a refusal starts at the Pipeline (spec.stages[0].from[1]), or at an
// attached Stage by the name of its object (stages[archive].spec.from[0]); see Place.
func Compute(in Input) (*Plan, field.ErrorList) {
	return newComputation(in).compute()
}

func (c *computation) compute() (*Plan, field.ErrorList) {
	if c.tooMany() { // what comes next takes the longer the more there are
		return nil, c.errs
	}
	c.all = c.nodes()
	c.checkNodes()
	ordered := c.order()
	c.watermarks()
	p := c.pipeline()
	c.placements(p)
	for _, n := range c.all {
		c.checkOverflow(n)
	}
	c.maxBytes = c.streamBytes()
	streams := c.streams(p, ordered)
	c.leases(p, streams)
	c.checkStreams(streams)
	nats := c.nats()
	for _, n := range ordered {
		p.Stages = append(p.Stages, c.stage(p, n, streams, nats))
	}
	c.merge(p)
	chain(p)
	c.refuseStoredRequests(streams)
	c.states(p, streams)
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	p.Ingress, p.Warnings = streams[0].Stream, c.warnings
	for _, s := range streams {
		p.Streams = append(p.Streams, s.Stream)
	}
	p.Ingress.Graph = EncodeGraph(p)
	p.Streams[0].Graph = p.Ingress.Graph
	return p, nil
}

// tooMany refuses attached Stages beyond the first ones.
func (c *computation) tooMany() bool {
	for i := MaxAttached; i < len(c.in.Stages); i++ {
		c.refuse(field.Forbidden(field.NewPath("stages").Key(c.in.Stages[i].Name).Child("spec", "pipelineRef"), fmt.Sprintf(
			"the pipeline has %d attached Stages, and may have no more: add this one to spec.stages of the Pipeline, or attach it to another", MaxAttached)))
	}
	return len(c.errs) > 0
}

// CheckStage refuses in an attached Stage what is wrong whatever its Pipeline holds, at the field
// paths of Compute. What the API server says of a Stage alone is not repeated.
func CheckStage(s *v1alpha1.Stage) field.ErrorList {
	c := newComputation(Input{Pipeline: &v1alpha1.Pipeline{}, Stages: []v1alpha1.Stage{*s}})
	for _, n := range c.nodes() {
		c.checkInputs(n, nil)
		c.checkFork(n)
		c.checkOutput(n)
		c.settings(n, &config.StageConfig{})
	}
	return c.errs
}

// pipeline fills what concerns the pipeline as a whole.
func (c *computation) pipeline() *Plan {
	from := c.in.Pipeline
	p := &Plan{
		Namespace: from.Namespace, Name: from.Name,
		SubjectPrefix: from.Spec.SubjectPrefix,
		Partitions:    int(or(from.Spec.Partitions, v1alpha1.DefaultPartitions)),
		PowerSafe:     from.Spec.Streams.Durability == v1alpha1.DurabilityPowerSafe,
	}
	if problem := checkName(p.Name); problem != "" {
		c.refuse(field.Invalid(field.NewPath("metadata", "name"), p.Name, problem+": it becomes part of subjects, streams and labels"))
		c.prefixRefused = p.SubjectPrefix == ""
	}
	path := field.NewPath("spec", "subjectPrefix")
	if p.SubjectPrefix == "" {
		p.SubjectPrefix = p.Namespace + "." + p.Name
	} else if problem := checkSubject(p.SubjectPrefix); problem != "" {
		c.refuse(field.Invalid(path, p.SubjectPrefix, problem))
		c.prefixRefused = true
	}
	return p
}

// streamBytes is the size of each stream. A quantity that 64 bits do not hold has the value 0,
// which NATS takes for no limit.
func (c *computation) streamBytes() int64 {
	q := c.in.Pipeline.Spec.Streams.MaxBytes
	if q == nil {
		return DefaultMaxBytes
	}
	if q.Value() <= 0 {
		c.refuse(field.Invalid(field.NewPath("spec", "streams", "maxBytes"), q.String(), "must be at least 1Mi, below 8Ei"))
	}
	return q.Value()
}

// nats is the server that workers connect to.
func (c *computation) nats() config.NATS {
	n := config.NATS{URL: c.in.DefaultNATSURL, JetStreamDomain: c.in.DefaultDomain}
	if spec := c.in.Pipeline.Spec.NATS; spec != nil {
		n = config.NATS{URL: or(spec.URL, n.URL), JetStreamDomain: DomainOf(spec, n.JetStreamDomain)}
	}
	if n.URL == "" {
		c.refuse(field.Required(field.NewPath("spec", "nats", "url"), "there is no default NATS server: name one here, or start the operator with --nats-url"))
	}
	if err := n.JetStreamDomain.Check(); err != nil {
		c.refuse(field.Invalid(field.NewPath("spec", "nats", "jetStreamDomain"), string(n.JetStreamDomain), err.Error()))
	}
	return n
}

// DomainOf is the JetStream domain of a pipeline: that of the default server belongs to its URL.
func DomainOf(spec *v1alpha1.NATSSpec, ofDefault config.Domain) config.Domain {
	if spec == nil || spec.URL == "" && spec.JetStreamDomain == "" {
		return ofDefault
	}
	return config.Domain(spec.JetStreamDomain)
}

// stage plans one node. It needs the streams that the node reads and writes.
func (c *computation) stage(p *Plan, n *node, streams []*stream, nats config.NATS) Stage {
	lanes := c.lanes(n.head, p.Partitions)
	c.checkLanes(n, lanes)
	s := Stage{
		Name: n.name, Object: n.object, Lanes: lanes, Replicas: n.replicas,
		Suspended: c.in.Pipeline.Spec.Suspend || n.head.spec.Suspend,
		Secrets:   c.secrets(n),
		Models:    c.models(n),
		Config: config.StageConfig{
			APIVersion: config.APIVersion,
			Pipeline:   config.PipelineRef{Namespace: p.Namespace, Name: p.Name},
			Stage:      n.name, Kind: n.kind.Kind, Partitions: p.Partitions, Lanes: lanes, Leases: p.Leases.Bucket,
			NATS:         nats,
			Batch:        defaultBatch(),
			Retry:        retry(n.spec.Retry),
			DrainTimeout: duration(n.head.spec.Workers.DrainTimeout, DefaultDrainTimeout),
			Outputs:      map[string]config.Output{},
		},
	}
	if n.chained() {
		s.Head, s.Replicas, s.Config.Leases = n.head.name, 0, ""
	}
	for _, in := range n.inputs {
		if n.chained() {
			s.Config.Inputs = append(s.Config.Inputs, config.Input{From: in.String()})
			continue
		}
		c.read(&s, n, in, streams)
	}
	c.settings(n, &s.Config)
	c.keys(n, &s.Config)
	for _, st := range streams {
		ports := st.outputs[n.name]
		if len(ports) > 0 {
			st.repartitioned = st.format == config.FormatFrame && (n.rekeys || c.partitionsIngress() || n.overflows())
		}
		for _, port := range ports {
			s.Config.Outputs[port] = st.output(n.name, port)
		}
	}
	c.replay(&s, n, streams)
	c.follow(n, &s.Config, p.Partitions)
	c.checkBranches(n)
	return s
}

// keys finds out whether the keys of what the stage emits may be any, and refuses a chained stage that cannot work with that.
func (c *computation) keys(n *node, s *config.StageConfig) {
	var source node
	if n.chained() && len(n.inputs) > 0 {
		if at := c.byName[n.inputs[0].source]; at != nil {
			source = *at
		}
	}
	n.changesKeys = s.Rekeys()
	n.rekeys, n.scatters = source.rekeys || n.changesKeys, s.Scatters(source.scatters)
	if why := n.kind.Keyed; why != "" && source.scatters {
		c.refuse(field.Invalid(n.withPath(), n.spec.Placement.With, fmt.Sprintf(
			"%s %s, and the lanes of %q have events of any key: leave placement out", n.kind.Kind, why, n.head.name)))
	}
}

// read adds the consumers of one input, one for each lane.
func (c *computation) read(s *Stage, n *node, in input, streams []*stream) {
	st := find(streams, in)
	if st == nil {
		return // refused already: the input does not exist
	}
	from := config.Input{
		From: in.String(), Stream: st.Name, Subject: st.filter(in, s.Lanes), Repartitioned: st.repartitioned,
		Durable: durableName(c.in.Pipeline.Namespace, c.in.Pipeline.Name, s.Name, st.source(in), s.Lanes),
		Start:   n.start, End: n.end,
	}
	c.addInput(s, in, st, from)
}

func (c *computation) addInput(s *Stage, in input, st *stream, from config.Input) {
	last := from.Consumer(s.Lanes-1, s.Lanes)
	if problem := checkNATSName(last); problem != "" {
		c.refuse(field.Invalid(in.path, in.String(), "the consumer's name "+quote(last)+" "+problem))
	}
	s.Config.Inputs = append(s.Config.Inputs, from)
	for lane := range s.Lanes {
		s.Consumers = append(s.Consumers, Consumer{
			Stream: st.Name, Durable: from.Consumer(lane, s.Lanes), FilterSubject: from.Filter(lane, s.Lanes), Start: from.Start,
			AckWait: DefaultAckWait, MaxAckPending: st.maxAckPending(),
		})
	}
}

// leases names the bucket, which no stream of the pipeline may meet.
func (c *computation) leases(p *Plan, streams []*stream) {
	p.Leases = Leases{
		Bucket: bucketName(p.Namespace, p.Name, c.in.Pipeline.Spec.SubjectPrefix),
		Memory: streams[0].Memory, Replicas: streams[0].Replicas,
	}
	name := p.Leases.Stream()
	if problem := checkNATSName(name); problem != "" && !c.prefixRefused {
		c.refuse(field.Invalid(field.NewPath("spec", "subjectPrefix"), c.in.Pipeline.Spec.SubjectPrefix,
			"the stream "+quote(name)+" of the leases "+problem))
	}
	for _, s := range streams {
		if s.Name == name {
			c.refuse(duplicate(s.namePath, s.Name, "the stream of the leases has this name"))
		}
	}
}

// states names the bucket of snapshots, which is where that of the leases is.
func (c *computation) states(p *Plan, streams []*stream) {
	if !slices.ContainsFunc(p.Stages, func(s Stage) bool { return s.Config.KeepsState() }) {
		return
	}
	p.States = States{Bucket: config.StateBucket(p.Leases.Bucket), Memory: p.Leases.Memory, Replicas: p.Leases.Replicas}
	name := p.States.Stream()
	if problem := checkNATSName(name); problem != "" && !c.prefixRefused && checkNATSName(p.Leases.Stream()) == "" {
		c.refuse(field.Invalid(field.NewPath("spec", "subjectPrefix"), c.in.Pipeline.Spec.SubjectPrefix,
			"the stream "+quote(name)+" of the snapshots "+problem))
	}
	for _, s := range streams {
		if s.Name == name {
			c.refuse(duplicate(s.namePath, s.Name, "the stream of the snapshots has this name"))
		}
	}
}

// partitionsIngress says whether the NATS server gives the messages of the ingress partitions. In such a pipeline the streams of all
// stages have subjects for each lane that writes: so no edit of from changes them.
func (c *computation) partitionsIngress() bool {
	return c.in.Pipeline.Spec.Ingress.PartitionBy == v1alpha1.PartitionBySubject
}

// lanes is the number of lanes of a stage. A lane reads one partition where all inputs have
// them. One lane reads everything where an input has none, where the kind must see it all, and at an ingress whose partitions are not
// those that the kind needs.
func (c *computation) lanes(n *node, partitions int) int {
	if n.kind.OneLane != "" {
		return 1
	}
	for _, in := range n.inputs {
		if config.PortFormat(in.port) != config.FormatFrame || in.source == "" && (n.kind.Keyed != "" || !c.partitionsIngress()) {
			return 1
		}
	}
	return partitions
}
