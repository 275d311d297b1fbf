package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/config/crd"
	"millrace.dev/millrace/test/harness"
)

// TestUpgradeOfDefinitions stores objects under definitions without defaults, as earlier releases had them, and raises the
// definitions by the client-side `kubectl apply`. The objects mean what they meant, and the fields stay immutable.
func TestUpgradeOfDefinitions(t *testing.T) {
	plane := harness.StartAPIServer(t)
	c, err := client.New(plane.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{plane: plane, Client: c, namespace: harness.NewNamespace(t, plane, nil)}
	s.kubectl(t, "apply", "-f", earlierDefinitions(t))
	s.kubectl(t, "wait", "--for=condition=Established", "--timeout=1m", "crd/pipelines.millrace.dev", "crd/stages.millrace.dev")

	const left, set = "left-out", "set"
	s.stored(t, merged(t, basePipeline, `metadata: {name: `+left+`}`))
	s.stored(t, merged(t, basePipeline, `metadata: {name: `+set+`}`, `spec: {partitions: 4, streams: {storage: Memory, maxAge: 1h}, ingress: {stream: A, subject: in}, deadLetters: {subject: dead},
		stages: [{name: check, from: [ingress], validate: {}, workers: {max: 4}, retry: {maxAttempts: 3}}, {name: group, from: [check], correlate: {window: {}}}]}`))

	for _, line := range s.kubectl(t, "apply", "-f", "../../config/crd/bases") {
		if !strings.HasSuffix(line, " configured") {
			t.Errorf("kubectl apply said %q", line)
		}
	}
	for name, want := range map[string]map[string]any{
		left: {
			"partitions": int64(8), "streams": map[string]any{"storage": "File", "durability": "Default"},
			"ingress": map[string]any{"subject": "raw"}, "deadLetters": map[string]any{"subject": "dead-letter"},
			"stages": []any{stageOf("check", "ingress", "validate", map[string]any{})},
		},
		set: {
			"partitions": int64(4), "streams": map[string]any{"storage": "Memory", "maxAge": "1h", "durability": "Default"},
			"ingress": map[string]any{"stream": "A", "subject": "in"}, "deadLetters": map[string]any{"subject": "dead"},
			"stages": []any{
				with(stageOf("check", "ingress", "validate", map[string]any{}), map[string]any{
					"workers": map[string]any{"min": int64(1), "max": int64(4)},
					"retry":   map[string]any{"maxAttempts": int64(3), "initialBackoff": "100ms", "maxBackoff": "5s"},
				}),
				stageOf("group", "check", "correlate", map[string]any{"window": map[string]any{"minEvents": int64(3), "maxEvents": int64(1000)}}),
			},
		},
	} {
		if got := s.served(t, name, want); got != "" {
			t.Errorf("%s (-want +got)\n%s", name, got)
		}
	}

	for name, test := range map[string]struct {
		object, patch string
		want          []string
	}{
		"nothing":                  {left, `{}`, nil},
		"what the defaults say":    {left, `spec: {partitions: 8, streams: {storage: File}, ingress: {subject: raw}, deadLetters: {subject: dead-letter}}`, nil},
		"partitions":               {left, `spec: {partitions: 16}`, []string{"spec.partitions: Invalid value: partitions is immutable: another number would break the order of each key"}},
		"storage":                  {left, `spec: {streams: {storage: Memory}}`, []string{"spec.streams: Invalid value: streams.storage is immutable: a stream keeps its storage"}},
		"subject of the ingress":   {left, `spec: {ingress: {subject: b}}`, []string{"spec.ingress: Invalid value: ingress is immutable: collectors publish there"}},
		"subject of dead letters":  {left, `spec: {deadLetters: {subject: b}}`, []string{"spec.deadLetters: Invalid value: deadLetters is immutable: others read there"}},
		"what is set is left out":  {set, `spec: {streams: {storage: Memory}, ingress: {stream: A, subject: in}, deadLetters: {subject: dead}}`, []string{"spec.partitions: Invalid value: partitions is immutable: another number would break the order of each key"}},
		"what the stages left out": {set, `spec: {partitions: 4, streams: {storage: Memory}, ingress: {stream: A, subject: in}, deadLetters: {subject: dead}, suspend: true}`, nil},
	} {
		t.Run("change of "+name, func(t *testing.T) {
			have := s.get(t, test.object)
			update := merged(t, basePipeline, `metadata: {name: `+test.object+`}`, test.patch)
			update.SetNamespace(s.namespace)
			update.SetResourceVersion(have.GetResourceVersion())
			err := s.Update(t.Context(), update, client.FieldValidation(metav1.FieldValidationStrict), client.DryRunAll)
			compareRefusals(t, "API server", test.want, refusals(t, err))
		})
	}
	t.Run("no change of generation", func(t *testing.T) {
		object := s.get(t, left)
		before := object.GetGeneration()
		object.SetLabels(map[string]string{"written": "again"})
		if err := s.Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		if got := s.get(t, left).GetGeneration(); got != before {
			t.Errorf("the generation is %d after the defaults were stored, and was %d", got, before)
		}
	})
}

// earlierDefinitions is a folder with the definitions as they were without defaults, and without the rules that need them.
func earlierDefinitions(t *testing.T) string {
	t.Helper()
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, d := range definitions {
		encoded, err := yaml.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := yaml.Unmarshal(encoded, &object); err != nil {
			t.Fatal(err)
		}
		without(object["spec"], "default", "x-kubernetes-validations")
		delete(object, "status")
		if encoded, err = yaml.Marshal(object); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, d.Name+".yaml"), encoded, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func without(node any, keywords ...string) {
	switch n := node.(type) {
	case map[string]any:
		for _, k := range keywords {
			delete(n, k)
		}
		for _, child := range n {
			without(child, keywords...)
		}
	case []any:
		for _, child := range n {
			without(child, keywords...)
		}
	}
}

func (s *server) stored(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	want := text(t, object.Object["spec"])
	object.SetNamespace(s.namespace)
	if err := s.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text(t, object.Object["spec"])); diff != "" {
		t.Fatalf("the earlier definitions change the object, so this test proves nothing (-want +got)\n%s", diff)
	}
}

// text is an object in a form in which 1 and 1.0 are the same.
func text(t *testing.T, object any) string {
	t.Helper()
	encoded, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func (s *server) get(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	object := merged(t, basePipeline)
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

// served waits for the API server to serve the object by the present definitions, which takes it a moment.
func (s *server) served(t *testing.T, name string, want map[string]any) (diff string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if diff = cmp.Diff(want, s.get(t, name).Object["spec"]); diff == "" {
			return ""
		}
	}
	return diff
}

func stageOf(name, from, kind string, settings map[string]any) map[string]any {
	return map[string]any{"name": name, "from": []any{from}, kind: settings}
}

func with(into, patch map[string]any) map[string]any {
	merge(into, patch)
	return into
}
