package api_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/kube"
)

// testScale scales Stages as kubectl scale and an autoscaler do.
func (s *server) testScale(t *testing.T) {
	for name, test := range map[string]struct {
		patch    string
		replicas int32
		want     []string
	}{
		"stateless":         {patch: `{}`, replicas: 5},
		"to zero":           {patch: `{}`, replicas: 0},
		"with state":        {patch: `spec: {validate: {dedupe: {}}}`, replicas: 2},
		"more than allowed": {patch: `{}`, replicas: 1001, want: []string{"spec.replicas: Invalid value: 1001: spec.replicas in body should be less than or equal to 1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			object := merged(t, baseStage, test.patch)
			object.SetNamespace(s.namespace)
			object.SetName("scale-" + strings.ReplaceAll(name, " ", "-"))
			if err := s.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: test.replicas}}
			err := s.SubResource("scale").Update(t.Context(), object, client.WithSubResourceBody(scale))
			compareRefusals(t, "API server", test.want, refusals(t, err))
			if len(test.want) > 0 {
				return
			}
			if err := s.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
				t.Fatal(err)
			}
			if got, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); got != int64(test.replicas) {
				t.Errorf("spec.replicas is %d, want %d", got, test.replicas)
			}
		})
	}
}

// testSelectable lists the Stages of one Pipeline on the server.
func (s *server) testSelectable(t *testing.T) {
	for name, pipeline := range map[string]string{"selected-a": "one", "selected-b": "two", "selected-c": "one"} {
		object := merged(t, baseStage, `spec: {pipelineRef: {name: `+pipeline+`}}`)
		object.SetName(name)
		if got := s.create(t, object); got != nil {
			t.Fatal(got)
		}
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("StageList"))
	if err := s.List(t.Context(), list, client.InNamespace(s.namespace), client.MatchingFields{"spec.pipelineRef.name": "one"}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.GetName())
	}
	if diff := cmp.Diff([]string{"selected-a", "selected-c"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// testTable prints what a person sees: the columns, short names and the category.
func (s *server) testTable(t *testing.T) {
	pipeline := merged(t, basePipeline, `metadata: {name: shown}`)
	stage := merged(t, baseStage, `metadata: {name: shown}`)
	for _, object := range []*unstructured.Unstructured{pipeline, stage} {
		object.SetNamespace(s.namespace)
		if err := s.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	condition := `{type: Ready, status: "False", reason: StagesNotReady, message: "", lastTransitionTime: "2026-01-02T03:04:05Z"}`
	merge(pipeline.Object, parse(t, `status: {conditions: [`+condition+`], stages: 0/1, lag: 42}`))
	merge(stage.Object, parse(t, `status: {conditions: [`+condition+`], kind: validate, readyWorkers: 3, replicas: 4, lag: 7}`))
	for _, object := range []*unstructured.Unstructured{pipeline, stage} {
		if err := s.Status().Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	for resource, want := range map[string][]string{
		"mrp":       {"NAME READY REASON STAGES LAG DEAD AGE OBSERVED", "shown False StagesNotReady 0/1 42"},
		"mrs":       {"NAME PIPELINE KIND READY REASON WORKERS LAG AGE", "shown other validate False StagesNotReady 3 7"},
		"pipelines": {"NAME READY REASON STAGES LAG DEAD AGE OBSERVED", "shown False StagesNotReady 0/1 42"},
	} {
		got := s.kubectl(t, "get", resource, "shown")
		for i, l := range want {
			if i >= len(got) || !strings.HasPrefix(got[i], l) {
				t.Errorf("kubectl get %s is %q, want %q", resource, got, want)
				break
			}
		}
	}
	if got := strings.Join(s.kubectl(t, "get", "millrace", "-o", "name"), " "); !strings.Contains(got, "pipeline.millrace.dev/shown") ||
		!strings.Contains(got, "stage.millrace.dev/shown") {
		t.Errorf("kubectl get millrace is %q", got)
	}
}

// kubectl returns the lines of a command's output with single spaces.
func (s *server) kubectl(t *testing.T, args ...string) []string {
	t.Helper()
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", s.plane.Kubeconfig(), "-n", s.namespace}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, stderr.String())
	}
	if strings.Contains(stderr.String(), "Warning") {
		t.Errorf("kubectl %v: %s", args, stderr.String())
	}
	var lines []string
	for l := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return lines
}

// testSamples applies every sample as a person does, after the server's own dry run.
func (s *server) testSamples(t *testing.T) {
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(samples) < 5 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}
	for _, sample := range samples {
		name := strings.TrimSuffix(filepath.Base(sample), ".yaml")
		if name == "kustomization" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, dryRun := range []string{"server", "none"} {
				out := s.kubectl(t, "apply", "--server-side", "--validate=strict", "--dry-run="+dryRun, "-f", sample)
				if len(out) == 0 || !strings.Contains(out[0], "serverside-applied") {
					t.Errorf("kubectl apply --dry-run=%s printed %q", dryRun, out)
				}
			}
		})
	}
	t.Run("kustomization", func(t *testing.T) {
		content, err := os.ReadFile("../../config/samples/kustomization.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, sample := range samples {
			if name := filepath.Base(sample); name != "kustomization.yaml" && !strings.Contains(string(content), "\n- "+name+"\n") {
				t.Errorf("config/samples/kustomization.yaml does not list %s", name)
			}
		}
		s.kubectl(t, "apply", "--server-side", "--validate=strict", "-k", "../../config/samples")
	})
}

// testKustomize installs the operator's objects without Helm. Its namespace enforces the Pod
// Security Standard restricted, which would refuse or warn.
func (s *server) testKustomize(t *testing.T) {
	out := s.kubectl(t, "--namespace=millrace", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", "../../config/default")
	want := []string{
		"namespace/millrace", "customresourcedefinition.apiextensions.k8s.io/pipelines.millrace.dev",
		"clusterrole.rbac.authorization.k8s.io/millrace-operator", "deployment.apps/millrace-operator",
	}
	for _, object := range want {
		if !strings.Contains(strings.Join(out, "\n"), object+" serverside-applied") {
			t.Errorf("%s was not applied: %q", object, out)
		}
	}
}
