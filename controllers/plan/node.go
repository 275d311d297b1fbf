package plan

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// node is one stage with its place in the manifest.
type node struct {
	name string
	// object is the name of the attached Stage object, or empty.
	object string
	// kind is empty when the manifest names none, or several.
	kind config.Traits
	// named are the ports that the settings name, sorted.
	named    []string
	replicas int32
	// start and end are those of the attached Stage; zero = there are none.
	start, end time.Time
	spec       *v1alpha1.StageNode
	// path of the node's fields, and of its name.
	path, namePath, replicasPath *field.Path
	// head is the stage in whose workers this one runs: itself, unless it is chained.
	head *node
	// refused: the name is wrong.
	refused bool
	// rekeys says that keys are changed by the stage, or before it in the same workers; scatters is config.StageConfig.Scatters.
	// They are known when the stage is planned.
	rekeys, scatters bool
	// changesKeys says that the stage itself does; known when it is planned.
	changesKeys bool
	// follows says that the stage is on the way to one that must know how far its inputs are, tells which of its ports say it (watermarks).
	follows bool
	tells   []string
	inputs  []input
}

// input is one element of from.
type input struct {
	// source is the stage that is read; empty for the ingress.
	source string
	port   string
	path   *field.Path
}

// String is how the manifest names the port in full.
func (i input) String() string {
	if i.source == "" {
		return ingressPort
	}
	return i.source + "/" + i.port
}

// nodes lists the Pipeline's own stages and the attached ones.
func (c *computation) nodes() []*node {
	var all []*node
	for i := range c.in.Pipeline.Spec.Stages {
		s := &c.in.Pipeline.Spec.Stages[i]
		path := field.NewPath("spec", "stages").Index(i)
		all = append(all, &node{
			name: s.Name, spec: &s.StageNode, replicas: workersOf(s.Workers),
			path: path, namePath: path.Child("name"), replicasPath: path.Child("workers", "min"),
		})
	}
	own := len(all)
	for i := range c.in.Stages {
		all = append(all, attached(&c.in.Stages[i]))
	}
	// In whatever order they were listed, the plan is the same.
	slices.SortFunc(all[own:], func(a, b *node) int { return strings.Compare(a.object, b.object) })
	for _, n := range all {
		n.kind = c.kindOf(n)
		n.named = c.portsOf(n)
		n.inputs = readInputs(n)
	}
	return all
}

func attached(s *v1alpha1.Stage) *node {
	path := field.NewPath("stages").Key(s.Name).Child("spec")
	n := &node{
		name: s.Spec.Name, object: s.Name, spec: &s.Spec.StageNode, replicas: workersOf(s.Spec.Workers),
		path: path, namePath: path.Child("name"), replicasPath: path.Child("workers", "min"),
	}
	if n.name == "" {
		n.name, n.namePath = s.Name, n.objectPath()
	}
	if s.Spec.StartTime != nil {
		n.start = s.Spec.StartTime.UTC()
	}
	if s.Spec.EndTime != nil {
		n.end = s.Spec.EndTime.UTC()
	}
	if s.Spec.Replicas != nil {
		n.replicas, n.replicasPath = *s.Spec.Replicas, path.Child("replicas")
	}
	return n
}

// ports are all ports of the stage.
func (n *node) ports() []string { return append(n.kind.Ports(), n.named...) }

// inOwnStream are the ports that share the stream of the stage.
func (n *node) inOwnStream() []string {
	if n.kind.NoOut != "" {
		return n.named
	}
	return append([]string{config.PortOut}, n.named...)
}

// objectPath is where the name of an attached Stage object stands.
func (n *node) objectPath() *field.Path {
	return field.NewPath("stages").Key(n.object).Child("metadata", "name")
}

// workersOf is the number of workers before anyone scales: one where none may be enough.
func workersOf(w v1alpha1.WorkersSpec) int32 {
	if w.Min == nil {
		return v1alpha1.DefaultMinWorkers
	}
	return max(1, *w.Min)
}

// Place splits the field path of a refusal: object is the name of the attached Stage that it
// speaks of, or empty for the Pipeline; path is the field inside that object.
func Place(fieldPath string) (object, path string) {
	rest, ok := strings.CutPrefix(fieldPath, "stages[")
	if !ok {
		return "", fieldPath
	}
	object, path, _ = strings.Cut(rest, "].")
	return object, path
}

func readInputs(n *node) []input {
	inputs := make([]input, len(n.spec.From))
	for i, from := range n.spec.From {
		in := input{port: config.PortOut, path: n.path.Child("from").Index(i)}
		if from != ingressPort {
			source, port, named := strings.Cut(from, "/")
			in.source = source
			if named {
				in.port = port
			}
		}
		inputs[i] = in
	}
	return inputs
}
