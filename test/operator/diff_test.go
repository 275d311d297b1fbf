package operator_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/diff"
)

// diff runs `millrace diff` on a manifest, and returns what it prints and its exit code.
func (x *tenant) diff(p *v1alpha1.Pipeline) (out string, code int) {
	x.t.Helper()
	p = p.DeepCopy()
	p.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Pipeline"}
	p.ObjectMeta = metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}
	p.Status = v1alpha1.PipelineStatus{}
	data, err := yaml.Marshal(p)
	if err != nil {
		x.t.Fatal(err)
	}
	file := filepath.Join(x.t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		x.t.Fatal(err)
	}
	var b bytes.Buffer
	cmd := diff.Command()
	cmd.SetArgs([]string{"-f", file, "--kubeconfig", x.plane.Kubeconfig(), "--nats-url", x.nats.URL()})
	cmd.SetOut(&b)
	if err = cmd.ExecuteContext(x.t.Context()); err == nil {
		return b.String(), 0
	}
	var coded interface{ ExitCode() int }
	if !errors.As(err, &coded) {
		x.t.Fatal(err)
	}
	return b.String() + err.Error(), coded.ExitCode()
}

// TestDiff compares manifests with what an operator has applied.
func TestDiff(t *testing.T) {
	x := newTenant(t)
	before := x.pipeline()
	if out, code := x.diff(before); code != 1 || !strings.Contains(out, "+ pipeline obs: create") || !strings.Contains(out, "+ workers enrich: start") {
		t.Errorf("nothing is applied: exit code %d\n%s", code, out)
	}
	x.start(before.DeepCopy())
	for name, test := range map[string]struct {
		edit func(*v1alpha1.PipelineSpec)
		code int
		want []string
		not  []string
	}{
		"no change": {func(*v1alpha1.PipelineSpec) {}, 0, []string{"no changes"}, nil},
		"a rule": {
			func(s *v1alpha1.PipelineSpec) { s.Stages[0].Validate.Rules[0].Message = "an id is missing" }, 1,
			[]string{"~ workers validate: live", "validate.rules[0].message: id must be set -> an id is missing", "without a restart"},
			[]string{": restart", "workers enrich"},
		},
		"a setting": {
			func(s *v1alpha1.PipelineSpec) { s.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{} }, 1,
			[]string{"~ workers validate: restart", "validate.dedupe", "a rollout replaces them"},
			[]string{"workers enrich"},
		},
		"more workers": {
			func(s *v1alpha1.PipelineSpec) { s.Stages[1].Workers.Min = new(int32(2)) }, 1, []string{"~ workers enrich: scale", "replicas: 1 -> 2"}, []string{": restart"},
		},
		"a new stage": {
			func(s *v1alpha1.PipelineSpec) {
				s.Stages = append(s.Stages, v1alpha1.PipelineStage{Name: "more", StageNode: v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{}}})
			}, 1, []string{"+ workers more: start", "+ stream " + x.stream("more") + ": create", "+ consumer " + x.durable("more") + " of stage more: create"}, []string{"workers validate"},
		},
		"a removed stage": {
			func(s *v1alpha1.PipelineSpec) { s.Stages = s.Stages[:3] }, 1,
			[]string{"- workers analyze: drain", "- consumer " + x.lane("analyze", 0) + " of stage analyze: drain", "= stream " + x.stream("analyze") + ": keep"},
			[]string{"workers validate"},
		},
		"what the API server refuses": {
			func(s *v1alpha1.PipelineSpec) { s.Partitions = 4 }, 1, []string{"! pipeline obs: refused", "partitions"}, []string{"workers"},
		},
	} {
		after := before.DeepCopy()
		test.edit(&after.Spec)
		out, code := x.diff(after)
		if code != test.code {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, test.code, out)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing\n%s", name, want, out)
			}
		}
		for _, not := range test.not {
			if strings.Contains(out, not) {
				t.Errorf("%s: %q is there\n%s", name, not, out)
			}
		}
	}
}
