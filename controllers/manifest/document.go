package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file.
type document struct {
	file string
	// first is the line of the file that the document begins on.
	first   int
	content []byte
	node    *yamlv3.Node
	object  *unstructured.Unstructured
}

// split cuts a file into its documents at lines that begin with three dashes, as kubectl does.
func split(file string, content []byte) []*document {
	var documents []*document
	current := &document{file: file, first: 1}
	for i, line := range bytes.SplitAfter(content, []byte("\n")) {
		if separator(line) {
			documents = append(documents, current)
			current = &document{file: file, first: i + 2}
			continue
		}
		current.content = append(current.content, line...)
	}
	return append(documents, current)
}

// separator tells whether a line parts two documents. What follows the dashes on the line is
// a comment at most.
func separator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || rest[0] == '#')
}

// parse reads the document; the value is what kubectl would send, the node knows the lines.
// It returns the problems that keep it from being an object, and ok=false for an empty one.
func (d *document) parse() (problems []Problem, ok bool) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(d.content))
	var root yamlv3.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil, false
	} else if err != nil {
		return []Problem{d.syntax(err)}, false
	}
	if len(root.Content) == 0 {
		return nil, false
	}
	d.node = root.Content[0]
	problems = append(d.duplicates(d.node), d.trailing(decoder)...)
	encoded, err := yaml.YAMLToJSON(d.content)
	if err != nil {
		return append(problems, d.syntax(err)), false
	}
	if string(encoded) == "null" {
		return problems, false
	}
	d.object = &unstructured.Unstructured{}
	if err := d.object.UnmarshalJSON(encoded); err != nil || d.object.GetAPIVersion() == "" {
		var value any
		_ = json.Unmarshal(encoded, &value)
		return append(problems, d.shape(value)), false
	}
	return problems, true
}

// trailing finds what stands behind the first document without a line that split cuts at: the API
// server would not get it.
func (d *document) trailing(decoder *yamlv3.Decoder) []Problem {
	const message = "is a second document: begin it behind a line of three dashes and nothing else"
	var problems []Problem
	for {
		var root yamlv3.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return problems
		}
		if err != nil { // what is wrong inside is told when it is a document of its own
			return append(problems, Problem{File: d.file, Line: d.syntax(err).Line, Message: message})
		}
		if len(root.Content) > 0 {
			problems = append(problems, Problem{File: d.file, Line: d.line(root.Content[0]), Message: message})
		}
	}
}

// shape says why a document is no object of Kubernetes.
func (d *document) shape(value any) Problem {
	fields, ok := value.(map[string]any)
	if !ok {
		return d.problem("", "is no object: begin with apiVersion and kind")
	}
	if version, _ := fields["apiVersion"].(string); version == "" {
		return d.problem("apiVersion", "is missing: apiVersion: millrace.dev/v1alpha1")
	}
	return d.problem("kind", "is missing: kind: Pipeline or kind: Stage")
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntax turns an error of the YAML parser into a problem at the line of the file.
func (d *document) syntax(err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = strings.Replace(message, m[0], "", 1)
	}
	return Problem{File: d.file, Line: d.first + line - 1, Message: "is not YAML: " + message}
}

// duplicates finds keys that stand twice in one mapping: only one of them would count.
func (d *document) duplicates(n *yamlv3.Node) []Problem {
	var problems []Problem
	if n.Kind == yamlv3.MappingNode {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if first, ok := seen[key.Value]; ok {
				problems = append(problems, Problem{File: d.file, Line: d.line(key), Message: fmt.Sprintf(
					"key %q is set already on line %d", key.Value, first)})
				continue
			}
			seen[key.Value] = d.line(key)
		}
	}
	for _, child := range n.Content {
		problems = append(problems, d.duplicates(child)...)
	}
	return problems
}

func (d *document) line(n *yamlv3.Node) int { return d.first + n.Line - 1 }

// problem is a problem at the line of a field; one of the object as a whole stands at its name.
func (d *document) problem(path, message string) Problem {
	at := path
	if path == "" {
		at = "metadata.name"
	}
	return Problem{File: d.file, Line: d.line(locate(d.node, at)), Path: path, Message: message}
}

// locate returns the node of a field, or of the nearest parent that is written down. For a
// field of a mapping it is the key.
func locate(root *yamlv3.Node, path string) *yamlv3.Node {
	at, value := root, root
	for _, step := range steps(path) {
		key, next := child(value, step)
		if next == nil {
			return at
		}
		at, value = key, next
	}
	return at
}

// child returns where a member is named and its value; none has neither.
func child(n *yamlv3.Node, step string) (key, value *yamlv3.Node) {
	if n == nil {
		return nil, nil
	}
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yamlv3.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

// steps splits spec.stages[0].from into its keys and indexes.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}
