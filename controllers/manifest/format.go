package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

// Format reads files of another kind than manifests, such as tests of pipelines, and finds what is wrong in them as this package
// does in manifests: with file, line and field path. It is safe for concurrent use.
type Format struct {
	apiVersion, kind string
	structural       *structuralschema.Structural
	schema           validation.SchemaValidator
}

// NewFormat compiles a JSON schema. It may say what the schema of a CustomResourceDefinition may say, and additionalProperties: false, which is
// for editors: a field that the schema does not know is a problem anyway.
func NewFormat(apiVersion, kind string, schema []byte) (*Format, error) {
	var document map[string]any
	if err := json.Unmarshal(schema, &document); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", kind, err)
	}
	for _, about := range []string{"$schema", "$id", "title"} {
		delete(document, about)
	}
	closed(document)
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	var external apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(text, &external); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", kind, err)
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&external, &internal, nil); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", kind, err)
	}
	f := &Format{apiVersion: apiVersion, kind: kind}
	if f.structural, err = structuralschema.NewStructural(&internal); err != nil {
		return nil, fmt.Errorf("compile the schema of %s: %w", kind, err)
	}
	if f.schema, _, err = validation.NewSchemaValidator(&internal); err != nil {
		return nil, fmt.Errorf("compile the schema of %s: %w", kind, err)
	}
	return f, nil
}

// closed removes additionalProperties: false, which schemas of CustomResourceDefinitions may not say.
func closed(value any) {
	switch v := value.(type) {
	case map[string]any:
		if v["additionalProperties"] == false {
			delete(v, "additionalProperties")
		}
		for _, member := range v {
			closed(member)
		}
	case []any:
		for _, element := range v {
			closed(element)
		}
	}
}

// Object is one object of a file.
type Object struct{ document *document }

// Read returns the objects of a file and all problems that the schema finds.
func (f *Format) Read(file string, content []byte) (objects []Object, problems []Problem) {
	for _, d := range split(file, content) {
		found, ok := d.parse()
		for _, p := range found {
			p.Message = strings.NewReplacer("apiVersion: millrace.dev/v1alpha1", "apiVersion: "+f.apiVersion, "kind: Pipeline or kind: Stage", "kind: "+f.kind).Replace(p.Message)
			problems = append(problems, p)
		}
		if !ok {
			continue
		}
		o := Object{d}
		if version, kind := d.object.GetAPIVersion(), d.object.GetKind(); version != f.apiVersion || kind != f.kind {
			problems = append(problems, o.Problem("kind", fmt.Sprintf("is %s of %s: want kind: %s of apiVersion: %s", kind, version, f.kind, f.apiVersion)))
			continue
		}
		unknown := pruning.PruneWithOptions(d.object.Object, f.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		for _, path := range unknown {
			problems = append(problems, o.Problem(path, fmt.Sprintf("unknown field %q", path)))
		}
		for _, refusal := range validation.ValidateCustomResource(nil, d.object.Object, f.schema) {
			problems = append(problems, o.Problem(strings.TrimPrefix(refusal.Field, "<nil>"), refusal.ErrorBody()))
		}
		objects = append(objects, o)
	}
	if len(objects) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{File: file, Line: 1, Message: "holds no " + f.kind})
	}
	return objects, order(problems, map[string]int{})
}

// Decode fills a Go value with the object, which had no problems.
func (o Object) Decode(into any) error {
	text, err := json.Marshal(o.document.object.Object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// Problem is a problem at the line of a field of the object.
func (o Object) Problem(path, message string) Problem {
	p := o.document.problem(path, message)
	if path == "" {
		p.Line = o.document.line(o.document.node)
	}
	return p
}
