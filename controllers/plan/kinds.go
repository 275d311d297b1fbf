package plan

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// reader reads the settings of one kind from the manifest. What else the planner knows of a kind is in the
// table of kinds (config.Kinds).
type reader struct {
	kind config.Kind
	// set says whether the manifest has the member of the kind.
	set func(*v1alpha1.StageNode) bool
	// read makes the settings of the member, which stands at path.
	read func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig)
	// ports are the ports that the member names, beyond those of the kind, each with where its name stands; nil = none.
	ports func(from *v1alpha1.StageNode, path *field.Path) []namedPort
	// secrets are the values of Secrets that the member asks for (config.NewSecretFile); read puts their files into the settings. nil = none.
	secrets func(*v1alpha1.StageNode) []config.SecretFile
	// models are the models that the member asks for (config.NewModelFile); nil = none.
	models func(*v1alpha1.StageNode) []config.ModelFile
}

// readers are in the order of the table of kinds.
var readers = [...]reader{
	{
		kind: config.KindValidate, set: func(s *v1alpha1.StageNode) bool { return s.Validate != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Validate = c.validate(from.Validate, path)
		},
	},
	{
		kind: config.KindEnrich, set: func(s *v1alpha1.StageNode) bool { return s.Enrich != nil },
		read: func(_ *computation, from *v1alpha1.StageNode, _ *field.Path, to *config.StageConfig) {
			to.Enrich = enrich(from.Enrich)
		},
	},
	{
		kind: config.KindCorrelate, set: func(s *v1alpha1.StageNode) bool { return s.Correlate != nil },
		read: func(_ *computation, from *v1alpha1.StageNode, _ *field.Path, to *config.StageConfig) {
			to.Correlate = correlate(from.Correlate)
		},
	},
	{
		kind: config.KindAnalyze, set: func(s *v1alpha1.StageNode) bool { return s.Analyze != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Analyze = c.analyze(from.Analyze, path)
		},
		models: func(from *v1alpha1.StageNode) []config.ModelFile { return analyzeModels(from.Analyze) },
	},
	{
		kind: config.KindRoute, set: func(s *v1alpha1.StageNode) bool { return s.Route != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Route = c.route(from.Route, path)
		},
		ports: func(from *v1alpha1.StageNode, path *field.Path) []namedPort { return routePorts(from.Route, path) },
	},
	{
		kind: config.KindTransform, set: func(s *v1alpha1.StageNode) bool { return s.Transform != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Transform = c.transform(from.Transform, path)
			if splits(from.Transform) {
				to.Batch.MaxEvents = min(to.Batch.MaxEvents, config.MaxSplitEvents)
			}
		},
		secrets: func(from *v1alpha1.StageNode) []config.SecretFile { return transformSecrets(from.Transform) },
	},
	{
		kind: config.KindExperiment, set: func(s *v1alpha1.StageNode) bool { return s.Experiment != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Experiment = c.experiment(from.Experiment, path)
		},
		ports: func(from *v1alpha1.StageNode, path *field.Path) []namedPort {
			return experimentPorts(from.Experiment, path)
		},
	},
	{
		kind: config.KindCompare, set: func(s *v1alpha1.StageNode) bool { return s.Compare != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Compare = c.compare(from.From, from.Compare, path)
		},
	},
	{
		kind: config.KindGather, set: func(s *v1alpha1.StageNode) bool { return s.Gather != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Gather = c.gather(from.Gather, path)
		},
		ports: func(from *v1alpha1.StageNode, path *field.Path) []namedPort {
			if !overflows(from) {
				return nil
			}
			return []namedPort{{config.PortOverflow, path}}
		},
		secrets: func(from *v1alpha1.StageNode) []config.SecretFile { return gatherSecrets(from.Gather) },
	},
	{
		kind: config.KindSink, set: func(s *v1alpha1.StageNode) bool { return s.Sink != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Sink = c.sink(from.Sink, path)
		},
		secrets: func(s *v1alpha1.StageNode) []config.SecretFile { return sinkSecrets(s.Sink) },
	},
	{
		kind: config.KindJoin, set: func(s *v1alpha1.StageNode) bool { return s.Join != nil },
		read: func(c *computation, from *v1alpha1.StageNode, path *field.Path, to *config.StageConfig) {
			to.Join = c.join(from, path)
		},
	},
}

// namedPort is a port that the settings of a stage name: its stream is that of the stage.
type namedPort struct {
	name string
	path *field.Path
}

// portsOf are the ports that the settings of a stage name, each once.
func (c *computation) portsOf(n *node) []string {
	var names []string
	if r := c.reader(n.kind.Kind); r != nil && r.ports != nil {
		for _, p := range r.ports(n.spec, n.path.Child(string(r.kind))) {
			if problem := checkPort(p.name); problem != "" {
				c.refuse(field.Invalid(p.path, p.name, problem))
			} else if !slices.Contains(names, p.name) {
				names = append(names, p.name)
			}
		}
	}
	if most := config.MaxPorts - len(config.FixedPorts()); len(names) > most {
		c.refuse(field.TooMany(n.path.Child(string(n.kind.Kind)), len(names), most))
	}
	slices.Sort(names)
	return names
}

// reader is that of a kind; nil of none.
func (c *computation) reader(kind config.Kind) *reader {
	i := slices.IndexFunc(c.readers, func(r reader) bool { return r.kind == kind })
	if i < 0 {
		return nil
	}
	return &c.readers[i]
}

// settings fills the member of the stage's kind.
func (c *computation) settings(n *node, to *config.StageConfig) {
	if r := c.reader(n.kind.Kind); r != nil {
		r.read(c, n.spec, n.path.Child(string(r.kind)), to)
	}
	c.breaker(n, to)
}

// kindOf is the kind of a stage; a stage with none or several is refused.
func (c *computation) kindOf(n *node) config.Traits {
	var set []string
	for i := range c.readers {
		if c.readers[i].set(n.spec) {
			set = append(set, string(c.readers[i].kind))
		}
	}
	switch len(set) {
	case 1:
		return c.traits(config.Kind(set[0]))
	case 0:
		c.refuse(field.Required(n.path, "set one of "+config.KindNames()))
	default:
		c.refuse(field.Forbidden(n.path, "has several kinds ("+strings.Join(set, ", ")+"): make a stage of each"))
	}
	return config.Traits{}
}
