package decide

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
	"millrace.dev/millrace/controllers/plan"
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

func snap(t *testing.T, p *v1alpha1.Pipeline, attached ...v1alpha1.Stage) *Observed {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	return &Observed{
		Pipeline: p, Stages: graph.Stages{Attached: attached}, Resolved: planner.Resolve(p, attached, nil),
		Taken: map[string]*v1alpha1.Stage{}, Streams: map[string]*jetstream.Stream{},
	}
}

func TestNewPipelineGolden(t *testing.T) {
	p := pipeline()
	in := Decide(snap(t, p), "blue", settings)
	var b strings.Builder
	for _, change := range in.Streams {
		if change.Action != jetstream.ActionCreate {
			t.Errorf("stream %s: got %s, want create", change.Name, change.Action)
		}
		if text, ok := change.Config.Metadata[plan.MetadataGraph]; ok { // its bytes are those of the compressor
			if _, err := plan.DecodeGraph(text); err != nil {
				t.Error(err)
			}
			change.Config.Metadata[plan.MetadataGraph] = "the graph"
		}
		write(t, &b, change.Config)
	}
	for _, c := range in.Children {
		stage, err := Child(p, c.Entry)
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
		change func(*Observed)
		want   map[string]int
	}{
		"new": {func(*Observed) {}, map[string]int{"children": 2, "streams": 7}},
		"NATS away: children all the same": {
			func(s *Observed) { s.NATSErr = &jetstream.UnreachableError{} }, map[string]int{"children": 2},
		},
		"an entry is gone": {
			func(s *Observed) { s.Stages.Children = []v1alpha1.Stage{child("validate"), child("old")} },
			map[string]int{"children": 2, "streams": 7, "prune": 1},
		},
		"an old child is being deleted": {
			func(s *Observed) {
				old := child("old")
				old.DeletionTimestamp = &metav1.Time{}
				*old.DeletionTimestamp = metav1.Now()
				s.Stages.Children = []v1alpha1.Stage{old}
			},
			map[string]int{"children": 2, "streams": 7},
		},
		"a name is taken": {
			func(s *Observed) { s.Taken["obs-validate"] = &v1alpha1.Stage{} },
			map[string]int{"children": 1, "streams": 7},
		},
		"a stream is not planned any more": {
			func(s *Observed) {
				s.Pipeline.Status.Streams = []v1alpha1.StreamStatus{{Name: "SHOP_OBS_RAW"}, {Name: "OLD"}}
			},
			map[string]int{"children": 2, "streams": 7, "retained": 1},
		},
		"a foreign stream": {
			func(s *Observed) { s.Streams["SHOP_OBS_RAW"] = &jetstream.Stream{Config: api.StreamConfig{}} },
			map[string]int{"children": 2, "streams": 7, "refused": 1},
		},
		"refused": {func(s *Observed) { s.Resolved = graph.Resolved{} }, map[string]int{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline())
			test.change(s)
			in := Decide(s, "", settings)
			got := map[string]int{}
			count := func(what string, n int) {
				if n > 0 {
					got[what] = n
				}
			}
			count("children", len(in.Children))
			count("streams", len(in.Streams))
			count("prune", len(in.Prune))
			count("retained", len(in.Retained))
			refused := 0
			for _, c := range in.Streams {
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
	stage, err := Child(p, p.Spec.Stages[0])
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
	s.Stages.Children = []v1alpha1.Stage{old}
	in := Decide(s, "", settings)
	for _, c := range in.Children {
		if c.Live != nil || c.Entry.Name == old.Spec.Name {
			t.Errorf("%s is applied to the Stage that is being deleted", c.Entry.Name)
		}
	}
	if len(in.Prune) != 0 {
		t.Errorf("pruned: %d", len(in.Prune))
	}
	s.Stages.Children = nil
	if in := Decide(s, "", settings); len(in.Children) != len(p.Spec.Stages) {
		t.Errorf("%d of %d children are applied when it is gone", len(in.Children), len(p.Spec.Stages))
	}
}
