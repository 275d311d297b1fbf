package pipeline

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jsm.go/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
)

var settings = revision.Settings{Version: "1", Image: "registry.example/millrace:1.0.0"}

func pipeline() *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs", UID: "pipeline-uid", Generation: 1},
		Spec: v1alpha1.PipelineSpec{Stages: []v1alpha1.PipelineStage{
			{Name: "validate", StageNode: v1alpha1.StageNode{
				From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{RequiredAttributes: []string{"id"}},
			}},
			{Name: "correlate", StageNode: v1alpha1.StageNode{
				From: []string{"validate"}, Correlate: &v1alpha1.CorrelateSpec{Realtime: &v1alpha1.RealtimeSpec{}},
				Workers: v1alpha1.WorkersSpec{NodeSelector: map[string]string{"pool": "events"}},
			}},
		}},
	}
}

func snap(t *testing.T, p *v1alpha1.Pipeline, attached ...v1alpha1.Stage) *snapshot {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	return &snapshot{
		pipeline: p, stages: graph.Stages{Attached: attached}, resolved: planner.Resolve(p, attached, nil),
		taken: map[string]*v1alpha1.Stage{}, streams: map[string]*jetstream.Stream{},
	}
}

func TestNewPipelineGolden(t *testing.T) {
	p := pipeline()
	in := decide(snap(t, p), "blue", settings)
	var b strings.Builder
	for _, change := range in.streams {
		if change.Action != jetstream.ActionCreate {
			t.Errorf("stream %s: got %s, want create", change.Name, change.Action)
		}
		write(t, &b, change.Config)
	}
	for _, c := range in.children {
		stage, err := stageFor(p, c.entry)
		if err != nil {
			t.Fatal(err)
		}
		write(t, &b, stage)
	}
	golden.Check(t, filepath.Join("testdata", "new-pipeline.yaml"), b.String())
}

func write(t *testing.T, b *strings.Builder, v any) {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("---\n")
	b.Write(data)
}

func TestDecide(t *testing.T) {
	child := func(name string) v1alpha1.Stage {
		return v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "obs-" + name,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
			}},
		}, Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: name}}
	}
	tests := map[string]struct {
		change func(*snapshot)
		want   map[string]int
	}{
		"new": {func(*snapshot) {}, map[string]int{"children": 2, "streams": 7}},
		"NATS away: children all the same": {
			func(s *snapshot) { s.natsErr = &jetstream.UnreachableError{} }, map[string]int{"children": 2},
		},
		"an entry is gone": {
			func(s *snapshot) { s.stages.Children = []v1alpha1.Stage{child("validate"), child("old")} },
			map[string]int{"children": 2, "streams": 7, "prune": 1},
		},
		"an old child is being deleted": {
			func(s *snapshot) {
				old := child("old")
				old.DeletionTimestamp = &metav1.Time{}
				*old.DeletionTimestamp = metav1.Now()
				s.stages.Children = []v1alpha1.Stage{old}
			},
			map[string]int{"children": 2, "streams": 7},
		},
		"a name is taken": {
			func(s *snapshot) { s.taken["obs-validate"] = &v1alpha1.Stage{} },
			map[string]int{"children": 1, "streams": 7},
		},
		"a stream is not planned any more": {
			func(s *snapshot) {
				s.pipeline.Status.Streams = []v1alpha1.StreamStatus{{Name: "SHOP_OBS_RAW"}, {Name: "OLD"}}
			},
			map[string]int{"children": 2, "streams": 7, "retained": 1},
		},
		"a foreign stream": {
			func(s *snapshot) { s.streams["SHOP_OBS_RAW"] = &jetstream.Stream{Config: api.StreamConfig{}} },
			map[string]int{"children": 2, "streams": 7, "refused": 1},
		},
		"refused": {func(s *snapshot) { s.resolved = graph.Resolved{} }, map[string]int{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline())
			test.change(s)
			in := decide(s, "", settings)
			got := map[string]int{}
			count := func(what string, n int) {
				if n > 0 {
					got[what] = n
				}
			}
			count("children", len(in.children))
			count("streams", len(in.streams))
			count("prune", len(in.prune))
			count("retained", len(in.retained))
			refused := 0
			for _, c := range in.streams {
				if c.Action.Refused() {
					refused++
				}
			}
			count("refused", refused)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChildSaysNothingOfReplicas(t *testing.T) {
	p := pipeline()
	stage, err := stageFor(p, p.Spec.Stages[0])
	if err != nil {
		t.Fatal(err)
	}
	if stage.Spec.Replicas != nil {
		t.Error("the Pipeline would take the replicas back from kubectl scale")
	}
}

// TestChildThatDrainsIsLeftAlone: an entry that is back while its Stage is being deleted gets another one later, of whatever kind it is then.
func TestChildThatDrainsIsLeftAlone(t *testing.T) {
	p := pipeline()
	s := snap(t, p)
	old := v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name + "-" + p.Spec.Stages[0].Name, DeletionTimestamp: new(metav1.Now()),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: p.Name, UID: p.UID, Controller: new(true)}},
	}, Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: p.Name}, Name: p.Spec.Stages[0].Name, StageNode: v1alpha1.StageNode{Enrich: &v1alpha1.EnrichSpec{}}}}
	s.stages.Children = []v1alpha1.Stage{old}
	in := decide(s, "", settings)
	for _, c := range in.children {
		if c.live != nil || c.entry.Name == old.Spec.Name {
			t.Errorf("%s is applied to the Stage that is being deleted", c.entry.Name)
		}
	}
	if len(in.prune) != 0 {
		t.Errorf("pruned: %d", len(in.prune))
	}
	s.stages.Children = nil
	if in := decide(s, "", settings); len(in.children) != len(p.Spec.Stages) {
		t.Errorf("%d of %d children are applied when it is gone", len(in.children), len(p.Spec.Stages))
	}
}
