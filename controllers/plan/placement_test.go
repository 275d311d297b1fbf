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
	c := &computation{in: Input{Pipeline: &v1alpha1.Pipeline{}}, all: []*node{head, n}, byName: map[string]*node{"a": head, "b": n}}
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

// TestRekeys: what changes keys has the stages behind it in the same workers send events to the partitions of the new keys, and none of
// them can rely on its lane. No kind of today does so.
func TestRekeys(t *testing.T) {
	head := &node{name: "a", rekeys: true, scatters: true}
	n := &node{
		name: "b", kind: config.Traits{Kind: "counts", Keyed: "has a number for each key"}, path: field.NewPath("b"), head: head,
		spec:   &v1alpha1.StageNode{Placement: &v1alpha1.PlacementSpec{With: "a"}},
		inputs: []input{{source: "a", port: config.PortOut}},
	}
	head.head = head
	c := &computation{byName: map[string]*node{"a": head, "b": n}}
	c.keys(n, &config.StageConfig{Lanes: 8})
	if !n.rekeys || !n.scatters {
		t.Errorf("rekeys %t, scatters %t, want both", n.rekeys, n.scatters)
	}
	want := `b.placement.with: Invalid value: "a": counts has a number for each key, and the lanes of "a" have events of any key: leave placement out`
	if got := c.errs.ToAggregate(); got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	alone := &node{name: "c", kind: n.kind, inputs: n.inputs}
	alone.head = alone
	if c.keys(alone, &config.StageConfig{Lanes: 8}); alone.rekeys || alone.scatters || len(c.errs) != 1 {
		t.Errorf("with workers of its own: rekeys %t, scatters %t, %v", alone.rekeys, alone.scatters, c.errs)
	}
}
