package api_test

import (
	"encoding/json"
	"errors"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
)

// server is one API server with the definitions, shared by all tests of the package.
type server struct {
	plane *kube.ControlPlane
	client.Client
	namespace string
	checker   *manifest.Checker
}

// TestAPI starts the API server once: it takes longer than all tests on it.
func TestAPI(t *testing.T) {
	plane := harness.StartAPIServer(t)
	if err := plane.InstallCRDs("../../config/crd/bases"); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(plane.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := manifest.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{plane: plane, Client: c, namespace: harness.NewNamespace(t, plane, nil), checker: checker}
	t.Run("Refused", s.testRefused)
	t.Run("Accepted", s.testAccepted)
	t.Run("EveryRuleIsTested", s.testEveryRuleIsTested)
	t.Run("Immutable", s.testImmutable)
	t.Run("Scale", s.testScale)
	t.Run("Selectable", s.testSelectable)
	t.Run("Table", s.testTable)
	t.Run("Samples", s.testSamples)
	t.Run("Kustomize", s.testKustomize)
	t.Run("Neighbours", s.testNeighbours) // the last: a bare name is another one's from here on
}

const basePipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: base}
spec:
  stages:
  - {name: check, from: [ingress], validate: {}}
`

const baseStage = `
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: base}
spec:
  pipelineRef: {name: other}
  from: [check]
  validate: {}
`

// merged lays patches over a base, as a JSON merge patch does.
func merged(t *testing.T, base string, patches ...string) *unstructured.Unstructured {
	t.Helper()
	object := parse(t, base)
	for _, patch := range patches {
		merge(object, parse(t, patch))
	}
	return &unstructured.Unstructured{Object: object}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	encoded, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	u := map[string]any{}
	if err := json.Unmarshal(encoded, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		fields, isMap := value.(map[string]any)
		have, hasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && hasMap:
			merge(have, fields)
		default:
			into[key] = value
		}
	}
}

// create asks the API server and returns its refusals as "path: message".
func (s *server) create(t *testing.T, object *unstructured.Unstructured, options ...client.CreateOption) []string {
	t.Helper()
	object = object.DeepCopy()
	object.SetNamespace(s.namespace)
	options = append(options, client.FieldValidation(metav1.FieldValidationStrict))
	return refusals(t, s.Create(t.Context(), object, options...))
}

// refusals are the causes of an error of the API server, sorted.
func refusals(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Fatalf("no answer of the API server: %v", err)
	}
	if apierrors.IsBadRequest(err) {
		return decodingErrors(status.ErrStatus.Message)
	}
	if status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0 {
		t.Fatalf("a refusal without causes: %v", err)
	}
	var all []string
	for _, cause := range status.ErrStatus.Details.Causes {
		// The subresource scale repeats the minimum of spec.replicas, at a path that begins with a
		// dot; the other is no refusal of its own.
		if !strings.HasPrefix(cause.Field, ".") && !strings.Contains(cause.Message, "some validation rules were not checked") {
			all = append(all, line(strings.TrimPrefix(cause.Field, "<nil>"), cause.Message))
		}
	}
	sort.Strings(all)
	return all
}

// decodingErrors reads: strict decoding error: unknown field "a", unknown field "b".
func decodingErrors(message string) []string {
	_, list, ok := strings.Cut(message, "strict decoding error: ")
	if !ok {
		return []string{message}
	}
	var all []string
	for one := range strings.SplitSeq(list, ", ") {
		path := strings.Trim(strings.TrimPrefix(one, "unknown field "), `"`)
		all = append(all, line(path, one))
	}
	sort.Strings(all)
	return all
}

func line(path, message string) string {
	if path == "" {
		return message
	}
	return path + ": " + message
}

// lint runs the same object through controllers/manifest.
func (s *server) lint(t *testing.T, object *unstructured.Unstructured) []string {
	t.Helper()
	encoded, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	_, problems, err := s.checker.Read(t.Context(), "object.yaml", strings.NewReader(string(encoded)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range problems {
		all = append(all, line(p.Path, p.Message))
	}
	sort.Strings(all)
	return all
}

func compareRefusals(t *testing.T, who string, want, got []string) {
	t.Helper()
	sort.Strings(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", who, diff)
	}
}
