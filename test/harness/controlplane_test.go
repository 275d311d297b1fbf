package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/test/harness"
)

const gaugeCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.test.millrace.dev}
spec:
  group: test.millrace.dev
  names: {kind: Gauge, plural: gauges, singular: gauge, listKind: GaugeList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {level: {type: integer}}
            x-kubernetes-validations:
            - {rule: "self.level < 10", message: "level must stay below 10"}
`

func TestAPIServerOnly(t *testing.T) {
	cp := harness.StartAPIServer(t)

	version, err := cp.Client().Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(version.GitVersion, "v1.37.") {
		t.Errorf("server version: got %s, want v1.37", version.GitVersion)
	}

	path := filepath.Join(t.TempDir(), "crd.yaml")
	if err := os.WriteFile(path, []byte(gaugeCRD), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cp.InstallCRDs(path); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cp.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Create(t.Context(), gauge("bad", 11))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "level must stay below 10") {
		t.Errorf("CEL rule: got %v, want its message", err)
	}
	if err := c.Create(t.Context(), gauge("good", 9)); err != nil {
		t.Error(err)
	}

	namespace := harness.NewNamespace(t, cp, nil)
	if _, err := cp.Client().CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

	config, err := cp.AddUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	_, err = kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a user without roles: got %v, want forbidden", err)
	}
}

func TestRestartAPIServer(t *testing.T) {
	cp := harness.StartAPIServer(t)
	before, err := cp.Client().CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := cp.KillComponent("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if _, err := cp.Client().Discovery().ServerVersion(); err == nil {
		t.Error("a killed API server answers")
	}
	if err := cp.RestartComponent(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	after, err := cp.Client().CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.UID != before.UID {
		t.Errorf("the namespace after a restart: got UID %s, want %s", after.UID, before.UID)
	}
}

func gauge(name string, level int64) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"level": level}}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "test.millrace.dev", Version: "v1", Kind: "Gauge"})
	u.SetNamespace("default")
	u.SetName(name)
	return u
}
