package pipelinetest

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// node is a part of schema.json.
type node struct {
	Properties map[string]node `json:"properties"`
	Items      *node           `json:"items"`
}

// fields are the paths of all fields below n, such as tests[].name.
func (n node) fields(path string, into map[string]bool) {
	if n.Items != nil {
		n.Items.fields(path+"[]", into)
	}
	for name, p := range n.Properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		into[at] = true
		p.fields(at, into)
	}
}

// fieldsOf are the paths of all fields of a type.
func fieldsOf(t reflect.Type, path string, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer:
		fieldsOf(t.Elem(), path, into)
	case reflect.Slice:
		fieldsOf(t.Elem(), path+"[]", into)
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			at := strings.TrimPrefix(path+"."+name, ".")
			into[at] = true
			fieldsOf(t.Field(i).Type, at, into)
		}
	default:
	}
}

var (
	// groups are objects whose members the page has, each in a row.
	groups = regexp.MustCompile(`^(kubernetes|tests)$`)
	// rows shorten paths to what the page says: steps[].send, and port of an expectation.
	rows = regexp.MustCompile(`^tests\[\]\.steps\[\]\.expect\[\]\.|^tests\[\]\.expect\[\]\.|^tests\[\]\.(steps\[\]\.)`)
	code = regexp.MustCompile("`([^`]+)`")
)

// TestFields: what is read, what the schema allows, and what the page describes are the same.
func TestFields(t *testing.T) {
	t.Parallel()
	var root node
	if err := json.Unmarshal(schema, &root); err != nil {
		t.Fatal(err)
	}
	allowed, read := map[string]bool{}, map[string]bool{}
	root.fields("", allowed)
	delete(allowed, "metadata") // objects of Kubernetes have it: it is not read
	fieldsOf(reflect.TypeFor[File](), "", read)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(allowed)), slices.Sorted(maps.Keys(read))); diff != "" {
		t.Errorf("schema.json and File have other fields: -schema +File\n%s", diff)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, reference, _ := strings.Cut(string(text), "\n## Reference\n")
	reference, _, _ = strings.Cut(reference, "\n## ")
	described, insights := map[string]bool{}, ""
	for line := range strings.Lines(reference) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		column, meaning, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, name := range code.FindAllStringSubmatch(column, -1) {
			described[name[1]] = true
			if name[1] == "insights" {
				insights = meaning
			}
		}
	}
	want := map[string]bool{}
	for path := range allowed {
		name := rows.ReplaceAllString(path, "$1")
		if member, ok := strings.CutPrefix(name, "insights[]."); ok {
			if !strings.Contains(insights, "`"+member+"`") {
				t.Errorf("the row of insights lacks %s", member)
			}
		} else if !groups.MatchString(name) {
			want[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("schema.json and the tables of the page have other fields: -schema +page\n%s", diff)
	}
}
