package plan

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// TestUnchained: a kind may have a reason why it needs workers of its own. No kind of today has one.
func TestUnchained(t *testing.T) {
	head := &node{name: "a", spec: &v1alpha1.StageNode{}, inputs: []input{{port: config.PortOut}}}
	n := &node{
		name: "b", kind: config.Traits{Kind: "alone", Unchained: "keeps its place elsewhere"}, path: field.NewPath("b"),
		spec:   &v1alpha1.StageNode{Placement: &v1alpha1.PlacementSpec{With: "a"}},
		inputs: []input{{source: "a", port: config.PortOut}},
	}
	c := &computation{all: []*node{head, n}, byName: map[string]*node{"a": head, "b": n}}
	c.placements(&Plan{Partitions: 8})
	want := []string{`b.placement.with: Invalid value: "a": alone keeps its place elsewhere: leave placement out`}
	var got []string
	for _, err := range c.errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
