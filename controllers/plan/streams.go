package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// stream is a planned stream with what the planner needs to know of it.
type stream struct {
	Stream
	// base is the subject that the stages publish on or below.
	base   string
	format config.OutputFormat
	// outputs maps a stage to its ports that this stream holds.
	outputs map[string][]string
	// repartitioned says that something stands behind the partition in its subjects: see config.Input. Of the stream of a stage
	// it is known when the stage is planned.
	repartitioned bool
	// namePath and subjectPath are the fields that decide about name and subject.
	namePath, subjectPath *field.Path
	// refused: the name of the stage is wrong, so nothing is said of what follows from it.
	refused bool
}

// streams plans all streams: ingress, one for the events of each stage, insights, dead letters.
func (c *computation) streams(p *Plan, ordered []*node) []*stream {
	spec := &c.in.Pipeline.Spec
	root := field.NewPath("spec")
	all := []*stream{c.stream(p, streamSpec{
		name: spec.Ingress.Stream, defaultName: streamRaw, path: root.Child("ingress"),
		base: p.SubjectPrefix + "." + or(spec.Ingress.Subject, v1alpha1.DefaultIngressSubject),
	})}
	all[0].Ports = []string{ingressPort}
	// People publish on the bare subject as well, and core NATS would drop those events without a word.
	all[0].Subjects = append(all[0].Subjects, all[0].base)
	if c.partitionsIngress() {
		all[0].Transform.Source, all[0].Transform.Destination = config.SubjectTransform(all[0].base, p.Partitions)
		all[0].repartitioned = true
	}
	for _, n := range ordered {
		if !c.stored(n) {
			continue
		}
		out := c.stream(p, streamSpec{
			name: n.spec.Output.Stream, defaultName: n.name, path: n.path.Child("output"),
			base: p.SubjectPrefix + "." + or(n.spec.Output.Subject, n.name), format: config.PortFormat(config.PortOut),
		})
		out.add(n, n.inOwnStream()...)
		out.refused = n.refused
		all = append(all, out)
	}
	found := c.stream(p, streamSpec{
		name: spec.Insights.Stream, defaultName: streamFound, path: root.Child("insights"), subjectField: "subjectPrefix",
		base: or(spec.Insights.SubjectPrefix, p.SubjectPrefix+"."+subjectFound), format: config.PortFormat(config.PortInsights),
	})
	dead := c.stream(p, streamSpec{
		name: spec.DeadLetters.Stream, defaultName: streamDead, path: root.Child("deadLetters"),
		base: p.SubjectPrefix + "." + or(spec.DeadLetters.Subject, v1alpha1.DefaultDeadLettersSubject), format: config.PortFormat(config.PortDeadLetter),
	})
	for _, n := range ordered {
		if slices.Contains(n.kind.Finds, config.PortInsights) {
			if n.start.IsZero() {
				found.add(n, config.PortInsights)
			} else {
				all = append(all, c.foundAgain(p, n))
			}
		}
		dead.add(n, config.PortDeadLetter)
	}
	if len(found.Ports) > 0 {
		all = append(all, found)
	}
	return append(all, dead)
}

// foundAgain is the stream of the insights of a stage that processes stored input again: they have the ids of those that were told then, and
// nobody is told a second time.
func (c *computation) foundAgain(p *Plan, n *node) *stream {
	name := n.name + "-" + config.PortInsights
	s := c.stream(p, streamSpec{defaultName: name, path: n.path, base: p.SubjectPrefix + "." + name, format: config.PortFormat(config.PortInsights)})
	s.namePath, s.subjectPath, s.refused = n.namePath, n.namePath, n.refused
	s.add(n, config.PortInsights)
	return s
}

type streamSpec struct {
	name, defaultName string
	path              *field.Path
	subjectField      string // of path; subject when empty
	base              string
	format            config.OutputFormat
}

func (c *computation) stream(p *Plan, s streamSpec) *stream {
	d := c.in.Pipeline.Spec.Streams
	maxAge := time.Duration(duration(d.MaxAge, DefaultMaxAge))
	return &stream{
		base: s.base, format: s.format, outputs: map[string][]string{},
		namePath: s.path.Child("stream"), subjectPath: s.path.Child(or(s.subjectField, "subject")),
		Stream: Stream{
			Name:     or(s.name, streamName(p.Namespace, p.Name, s.defaultName)),
			Subjects: []string{s.base + ".>"},
			Memory:   d.Storage == v1alpha1.StorageMemory,
			Replicas: int(or(d.Replicas, 1)),
			MaxAge:   maxAge, MaxBytes: c.maxBytes,
			DuplicateWindow: min(DefaultDuplicateWindow, maxAge),
		},
	}
}

func (s *stream) add(n *node, ports ...string) {
	s.outputs[n.name] = append(s.outputs[n.name], ports...)
	for _, port := range ports {
		s.Ports = append(s.Ports, n.name+"/"+port)
	}
}

// output is where a stage publishes what leaves through a port: below the subject.
func (s *stream) output(stage, port string) config.Output {
	subject := s.base
	switch port {
	case config.PortDeadLetter:
		subject += "." + stage
	case config.PortOut, config.PortInsights:
	default:
		subject += "." + port
	}
	return config.Output{Stream: s.Name, Subject: subject, Format: s.format, Repartition: s.repartitioned}
}

// filter is the subject of the messages of an input; the ingress is read whole where its
// subjects have no pattern of their own. With several lanes it is the part before the number of the lane: then the
// stream has partitions.
func (s *stream) filter(in input, lanes int) string {
	switch {
	case s.format == config.FormatRaw || s.format == config.FormatCloudEvent:
		return s.base + "." + in.source + ".>"
	case in.source == "":
		if lanes == 1 && !s.repartitioned {
			return ">"
		}
	case in.port != config.PortOut || len(s.Ports) > 1:
		out := s.output(in.source, in.port)
		if lanes == 1 {
			return out.Stored(in.source)
		}
		return out.Subject
	}
	if lanes > 1 {
		return s.base
	}
	return s.Subjects[0]
}

// source tells apart the consumers of one stage on a stream with several ports.
func (s *stream) source(in input) string {
	switch {
	case s.format == config.FormatRaw || s.format == config.FormatCloudEvent:
		return in.source
	case in.port != config.PortOut:
		return portSource + in.port
	}
	return ""
}

// maxAckPending bounds messages: frames hold many events, all others one.
func (s *stream) maxAckPending() int {
	if s.format == config.FormatFrame {
		return FrameMaxAckPending
	}
	return EventMaxAckPending
}

// find returns the stream that a port fills.
func find(streams []*stream, in input) *stream {
	for _, s := range streams {
		if in.source == "" && slices.Equal(s.Ports, []string{ingressPort}) {
			return s
		}
		if slices.Contains(s.outputs[in.source], in.port) {
			return s
		}
	}
	return nil
}

// checkStreams refuses streams that NATS would refuse, alone or together.
func (c *computation) checkStreams(streams []*stream) {
	streams = slices.DeleteFunc(slices.Clone(streams), func(s *stream) bool { return s.refused })
	for i, s := range streams {
		if problem := checkNATSName(s.Name); problem != "" {
			c.refuse(field.Invalid(s.namePath, s.Name, problem))
		}
		if problem := checkSubject(s.base); problem != "" && !c.prefixRefused {
			c.refuse(field.Invalid(s.subjectPath, s.base, problem))
		}
		for _, other := range streams[:i] {
			c.checkPair(s, other)
		}
	}
}

func (c *computation) checkPair(s, other *stream) {
	who := strings.Join(other.Ports, ", ")
	if s.Name == other.Name {
		c.refuse(duplicate(s.namePath, s.Name, "the stream of "+who+" has this name too"))
	}
	if mine, theirs, ok := overlapping(s.Subjects, other.Subjects); ok {
		c.refuse(field.Invalid(s.subjectPath, s.base, fmt.Sprintf(
			"%s overlaps %s of %s: one event would be in two streams", mine, theirs, who)))
	}
}
