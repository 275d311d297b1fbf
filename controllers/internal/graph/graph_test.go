package graph_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

func pipeline() *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs", UID: "p", Generation: 1},
		Spec: v1alpha1.PipelineSpec{Stages: []v1alpha1.PipelineStage{{Name: "validate", StageNode: v1alpha1.StageNode{
			From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{},
		}}}},
	}
}

func attached(name string, age time.Duration, from ...string) v1alpha1.Stage {
	return v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1,
			CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000, 0).Add(-age)),
		},
		Spec: v1alpha1.StageSpec{
			PipelineRef: v1alpha1.PipelineRef{Name: "obs"},
			StageNode:   v1alpha1.StageNode{From: from, Enrich: &v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}}},
		},
	}
}

func resolve(t *testing.T, p *v1alpha1.Pipeline, stages ...v1alpha1.Stage) graph.Resolved {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	return planner.Resolve(p, stages, nil)
}

func planned(r graph.Resolved) []string {
	var names []string
	for _, s := range r.Plan.Stages {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

func TestResolve(t *testing.T) {
	deleted := attached("deleted", 0, "validate")
	deleted.DeletionTimestamp = new(metav1.Now())
	twin := func(name string, age time.Duration) v1alpha1.Stage {
		s := attached(name, age, "validate")
		s.Spec.Name = "same"
		return s
	}
	tests := map[string]struct {
		attached []v1alpha1.Stage
		planned  []string
		refused  []string
	}{
		"none":             {nil, []string{"validate"}, nil},
		"one":              {[]v1alpha1.Stage{attached("a", 0, "validate")}, []string{"a", "validate"}, nil},
		"one bad, one not": {[]v1alpha1.Stage{attached("a", 0, "nobody"), attached("b", 0, "validate")}, []string{"b", "validate"}, []string{"a"}},
		"a chain in the wrong order with a bad one": {
			[]v1alpha1.Stage{attached("a", 3, "b"), attached("b", 2, "c"), attached("c", 1, "validate"), attached("bad", 0, "nobody")},
			[]string{"a", "b", "c", "validate"},
			[]string{"bad"},
		},
		"who reads a bad one is refused too": {
			[]v1alpha1.Stage{attached("bad", 1, "nobody"), attached("reader", 0, "bad")}, []string{"validate"}, []string{"bad", "reader"},
		},
		"two of one name: the older wins": {[]v1alpha1.Stage{twin("young", 0), twin("old", time.Hour)}, []string{"same", "validate"}, []string{"young"}},
		"the name of the pipeline's own":  {[]v1alpha1.Stage{attached("validate", 0, "validate")}, []string{"validate"}, []string{"validate"}},
		"being deleted":                   {[]v1alpha1.Stage{deleted}, []string{"validate"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := resolve(t, pipeline(), test.attached...)
			if diff := cmp.Diff(test.planned, planned(r)); diff != "" {
				t.Error("planned:", diff)
			}
			if diff := cmp.Diff(test.refused, slices.Sorted(maps.Keys(r.Refused))); diff != "" {
				t.Error("refused:", diff)
			}
		})
	}
}

func TestARefusedPipelineHasErrorsAndNoPlan(t *testing.T) {
	p := pipeline()
	p.Spec.Stages[0].From = []string{"nobody"}
	r := resolve(t, p, attached("a", 0, "validate"))
	if r.Plan != nil || len(r.Errors) == 0 || !strings.Contains(r.Errors.ToAggregate().Error(), "spec.stages[0].from[0]") {
		t.Errorf("got plan %v, errors %v", r.Plan, r.Errors)
	}
}

func TestNode(t *testing.T) {
	imposter := attached("validate", 0, "validate") // has the name of the pipeline's own stage
	r := resolve(t, pipeline(), attached("a", 0, "validate"), imposter)
	child := v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Name: "obs-validate", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "p", Controller: new(true),
		}}},
		Spec: v1alpha1.StageSpec{Name: "validate"},
	}
	if n := r.Node(&child); n == nil || n.Name != "validate" {
		t.Errorf("child: got %v", n)
	}
	if n := r.Node(new(attached("a", 0))); n == nil || n.Name != "a" {
		t.Errorf("attached: got %v", n)
	}
	if n := r.Node(&imposter); n != nil {
		t.Errorf("imposter: got %v, want none", n)
	}
}

func TestPlannerPlansAnewOnlyWhenASpecChanged(t *testing.T) {
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	p, a := pipeline(), attached("a", 0, "validate")
	first := planner.Resolve(p, []v1alpha1.Stage{a}, nil)
	if again := planner.Resolve(p, []v1alpha1.Stage{a}, nil); again.Plan != first.Plan {
		t.Error("the same specs were planned twice")
	}
	a.Generation++
	if after := planner.Resolve(p, []v1alpha1.Stage{a}, nil); after.Plan == first.Plan {
		t.Error("a changed stage was not planned")
	}
	if after := planner.Resolve(p, nil, nil); len(after.Plan.Stages) != 1 {
		t.Error("a stage that is gone is still in the plan")
	}
	p.Generation++
	p.Spec.Stages[0].Name = "check"
	if after := planner.Resolve(p, nil, nil); after.Plan.Stages[0].Name != "check" {
		t.Error("a changed pipeline was not planned")
	}
}

// TestEachEditIsPlannedOnce: however often the Pipeline controller looks, also while the stages that an edit makes begin to run. Lanes that a
// stage does not run in are planned anew, and refused.
func TestEachEditIsPlannedOnce(t *testing.T) {
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	p, own := pipeline(), attached("own", 0, "validate")
	var last *plan.Plan
	plans := 0
	look := func(lanes map[string]int) {
		t.Helper()
		r := planner.Resolve(p, []v1alpha1.Stage{own}, lanes)
		if len(r.Errors) > 0 || len(r.Refused) > 0 {
			t.Fatal(r.Errors, r.Refused)
		}
		if r.Plan != last {
			plans, last = plans+1, r.Plan
		}
	}
	add := attached("", 0, "validate").Spec.StageNode
	for i, edit := range []struct {
		change func()
		looks  []map[string]int
	}{
		{func() {}, []map[string]int{nil, {"obs-validate": 1}, {"obs-validate": 1, "own": 8}}},
		{func() { p.Spec.Stages[0].Validate.RequiredAttributes = []string{"id"} }, []map[string]int{{"obs-validate": 1, "own": 8}, {"obs-validate": 1, "own": 8}}},
		{func() { p.Spec.Stages = append(p.Spec.Stages, v1alpha1.PipelineStage{Name: "more", StageNode: add}) }, []map[string]int{
			{"obs-validate": 1, "own": 8}, {"obs-validate": 1, "own": 8, "obs-more": 8},
		}},
		{func() { p.Spec.Stages = p.Spec.Stages[:1] }, []map[string]int{{"obs-validate": 1, "own": 8, "obs-more": 8}, {"obs-validate": 1, "own": 8}}},
	} {
		edit.change()
		p.Generation++
		plans = 0
		for _, lanes := range edit.looks {
			look(lanes)
		}
		if plans != 1 {
			t.Errorf("edit %d is planned %d times, want once", i, plans)
		}
	}
	if r := planner.Resolve(p, []v1alpha1.Stage{own}, map[string]int{"obs-validate": 8}); len(r.Errors) == 0 {
		t.Error("a stage is to have other lanes than it runs in, and nobody refuses it")
	}
	if r := planner.Resolve(p, []v1alpha1.Stage{own}, map[string]int{"own": 1}); len(r.Refused) != 1 {
		t.Errorf("an attached stage is to have other lanes than it runs in: got %v, want it refused alone", r.Refused)
	}
	if r := planner.Resolve(p, []v1alpha1.Stage{own}, map[string]int{"own": 8}); len(r.Refused) > 0 {
		t.Errorf("the refusal stays when its reason is gone: %v", r.Refused)
	}
}

// manyAttached are attached stages that read one another, the youngest first, and one that reads what does not exist.
func manyAttached(n int) []v1alpha1.Stage {
	stages := []v1alpha1.Stage{attached("bad", 2*time.Duration(n)*time.Second, "nobody")}
	for i := range n {
		from := "validate"
		if i > 0 {
			from = fmt.Sprintf("s%d", i-1)
		}
		s := attached(fmt.Sprintf("s%d", i), time.Duration(i)*time.Second, from)
		s.Spec.Enrich = nil
		s.Spec.Validate = &v1alpha1.ValidateSpec{Rules: []v1alpha1.ValidateRule{{Expression: fmt.Sprintf("event.id != '%d'", i)}}}
		stages = append(stages, s)
	}
	return stages
}

// TestManyAttachedStages: fifty attached stages that read one another, the youngest first, and a wrong one are resolved in a tenth of a second,
// also the first time. All but the wrong one fit.
func TestManyAttachedStages(t *testing.T) {
	const n = 50
	stages := manyAttached(n)
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := planner.Resolve(pipeline(), stages, nil)
	took := time.Since(began)
	if got := slices.Sorted(maps.Keys(r.Refused)); !slices.Equal(got, []string{"bad"}) || len(r.Plan.Stages) != n+1 {
		t.Errorf("refused %v, planned %d", got, len(r.Plan.Stages))
	}
	t.Logf("took %s", took)
	if limit := 3 * time.Second; took > limit { // a tenth of a second on a machine that does nothing else; ten seconds when it was cubic
		t.Errorf("took %s, want less than %s", took, limit)
	}
}

// BenchmarkEdit plans the pipeline with fifty attached stages, one of them wrong, as after an edit: nothing is remembered but the operator's
// environment of expressions.
func BenchmarkEdit(b *testing.B) {
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		b.Fatal(err)
	}
	p, stages := pipeline(), manyAttached(50)
	b.ReportAllocs()
	for b.Loop() {
		p.Generation++
		if r := planner.Resolve(p, stages, nil); len(r.Refused) != 1 {
			b.Fatal(r.Refused)
		}
	}
}
