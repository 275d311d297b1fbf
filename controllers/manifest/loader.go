package manifest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// loader collects objects and problems of several files.
type loader struct {
	domain   config.Domain
	schemas  map[string]*kindSchema
	set      *Set
	problems []finding
	// files is the order in which files were given.
	files map[string]int
	// pipelines and stages are the documents of set.Pipelines and set.Stages.
	pipelines, stages []*document
	seen              map[string]*document
}

func (c *Checker) loader() *loader {
	return &loader{domain: c.JetStreamDomain, schemas: c.schemas, set: &Set{}, files: map[string]int{}, seen: map[string]*document{}}
}

// add reads one file.
func (l *loader) add(ctx context.Context, file string, content []byte) {
	if _, ok := l.files[file]; !ok {
		l.files[file] = len(l.files)
	}
	for _, d := range split(file, content) {
		problems, ok := d.parse()
		for _, p := range problems {
			l.problems = append(l.problems, finding{p, d})
		}
		if !ok {
			continue
		}
		items, problems := d.items()
		for _, p := range problems {
			l.problems = append(l.problems, finding{p, d})
		}
		for _, item := range items {
			l.check(ctx, item)
		}
	}
}

// items are the objects of a List and of Lists in it, or the document itself. The problems are
// those of what is no object.
func (d *document) items() (all []*document, problems []Problem) {
	if d.object.GetKind() != "List" || d.object.GetAPIVersion() != "v1" {
		return []*document{d}, nil
	}
	value := d.object.Object["items"]
	objects, ok := value.([]any)
	if !ok && value != nil {
		return nil, []Problem{d.problem("items", "is no list: write each object as an element of it")}
	}
	_, list := child(d.node, "items")
	for i, object := range objects {
		fields, _ := object.(map[string]any)
		item := &document{file: d.file, first: d.first, node: d.node, object: &unstructured.Unstructured{Object: fields}}
		if _, node := child(list, strconv.Itoa(i)); node != nil { // else it is merged into the List from elsewhere
			item.node = resolve(node)
		}
		if item.object.GetAPIVersion() == "" || item.object.GetKind() == "" {
			problems = append(problems, item.shape(object))
			continue
		}
		inner, wrong := item.items()
		all, problems = append(all, inner...), append(problems, wrong...)
	}
	return all, problems
}

func resolve(n *yamlv3.Node) *yamlv3.Node {
	if n.Kind == yamlv3.AliasNode {
		return n.Alias
	}
	return n
}

// check checks one object as the API server does, and keeps it when it can be planned.
func (l *loader) check(ctx context.Context, d *document) {
	gv, err := schema.ParseGroupVersion(d.object.GetAPIVersion())
	if err != nil {
		l.report(d, "apiVersion", err.Error())
		return
	}
	switch {
	case gv.Group != v1alpha1.GroupVersion.Group:
		l.set.Others++
		return
	case gv != v1alpha1.GroupVersion:
		l.report(d, "apiVersion", fmt.Sprintf("%s is unknown: this version of millrace knows %s", gv, v1alpha1.GroupVersion))
		return
	case l.schemas[d.object.GetKind()] == nil:
		kinds := slices.Sorted(maps.Keys(l.schemas))
		l.report(d, "kind", fmt.Sprintf("%q is unknown: the kinds are %s", d.object.GetKind(), strings.Join(kinds, " and ")))
		return
	}
	if l.checkSchema(ctx, d) {
		l.keep(d)
	}
}

// checkSchema reports what the API server would refuse, and whether the object has the shape
// of its kind nevertheless.
func (l *loader) checkSchema(ctx context.Context, d *document) bool {
	s := l.schemas[d.object.GetKind()]
	unknown, err := s.unknown(d.object)
	if err != nil {
		l.report(d, "metadata", err.Error())
		return false
	}
	for _, path := range unknown {
		l.report(d, path, fmt.Sprintf("unknown field %q", path))
	}
	for _, refusal := range s.validate(ctx, d.object) {
		path, message := strings.TrimPrefix(refusal.Field, "<nil>"), refusal.ErrorBody()
		if path == "metadata.name" && d.object.GetName() == "" && d.object.GetGenerateName() != "" {
			// The API server makes the name before it checks the object.
			message = "is missing: lint needs it instead of generateName, since the names of streams and Stages follow from it"
		}
		l.report(d, path, message)
	}
	return true
}

// keep takes the object into the set. What does not fit the Go type has been reported by the
// schema; it is left out, so that the planner finds what else is wrong.
func (l *loader) keep(d *document) {
	switch d.object.GetKind() {
	case "Pipeline":
		var p v1alpha1.Pipeline
		if l.convert(d, &p) && l.first(d) {
			p.Namespace = namespaceOf(p.Namespace)
			l.set.Pipelines, l.pipelines = append(l.set.Pipelines, p), append(l.pipelines, d)
		}
	case "Stage":
		var s v1alpha1.Stage
		if l.convert(d, &s) && l.first(d) {
			s.Namespace = namespaceOf(s.Namespace)
			l.set.Stages, l.stages = append(l.set.Stages, s), append(l.stages, d)
		}
	}
}

func (l *loader) convert(d *document, into any) bool {
	if convert(d.object, into) == nil {
		return true
	}
	for _, f := range l.problems {
		if f.document == d && within(f.Path, "spec") {
			remove(d.object.Object, steps(f.Path))
		}
	}
	return convert(d.object, into) == nil
}

// remove takes a single value out of an object; objects, lists and their elements stay.
func remove(value any, path []string) {
	if len(path) == 0 {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		switch v[path[0]].(type) {
		case map[string]any, []any:
			remove(v[path[0]], path[1:])
		default:
			if len(path) == 1 {
				delete(v, path[0])
			}
		}
	case []any:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(v) {
			remove(v[i], path[1:])
		}
	}
}

// first reports an object that was defined before: the second would overwrite the first. Without a
// name, no two are the same.
func (l *loader) first(d *document) bool {
	if d.object.GetName() == "" {
		return true
	}
	key := d.object.GetKind() + " " + namespaceOf(d.object.GetNamespace()) + "/" + d.object.GetName()
	if before := l.seen[key]; before != nil {
		l.report(d, "metadata.name", fmt.Sprintf("%s is defined already in %s:%d", key, before.file, before.line(before.node)))
		return false
	}
	l.seen[key] = d
	return true
}

// namespaceOf is the namespace that kubectl would use without a flag.
func namespaceOf(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

func (l *loader) report(d *document, path, message string) {
	l.problems = append(l.problems, finding{d.problem(path, message), d})
}

// finding is a problem with the document that has it.
type finding struct {
	Problem
	document *document
}
