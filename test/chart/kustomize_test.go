package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness/kube"
)

// overlay writes the overlay that docs/install.md shows, with the image and the server of this site, into a
// folder.
func (s *site) overlay(t *testing.T) string {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\n(apiVersion: kustomize.*?)```").FindStringSubmatch(read(t, root+"/docs/install.md"))
	if block == nil {
		t.Fatal("docs/install.md shows no overlay")
	}
	dir := t.TempDir()
	base, err := filepath.Abs(root + "/config/default")
	if err == nil {
		base, err = filepath.Rel(dir, base)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := block[1]
	for documented, here := range map[string]string{
		"../config/default": base, "registry.example.com/millrace": "millrace", "nats://nats.example.com:4222": s.nats,
	} {
		if !strings.Contains(text, documented) {
			t.Fatalf("the overlay of docs/install.md has no %s:\n%s", documented, text)
		}
		text = strings.ReplaceAll(text, documented, here)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kustomizes is the way without helm, with the overlay of docs/install.md: two operators, and a Pipeline that
// becomes Ready with the rights of config/rbac. All of it is deleted again, so that the rest starts from nothing.
func kustomizes(t *testing.T, s *site) {
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", s.plane.Kubeconfig()}, args...)...)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	dir := s.overlay(t)
	run("apply", "--server-side", "--validate=strict", "-k", dir)
	run("--namespace=millrace", "rollout", "status", "deployment/millrace-operator", "--timeout=90s")
	operator, err := s.AppsV1().Deployments("millrace").Get(t.Context(), "millrace-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := operator.Status.AvailableReplicas; got != 2 {
		t.Errorf("got %d operators, want 2", got)
	}
	run("wait", "--for=condition=Established", "--timeout=30s", "crd/pipelines.millrace.dev", "crd/stages.millrace.dev")
	s.create(t, "plain")
	s.ready(t, "plain")
	s.delete(t, "plain")
	run("delete", "--timeout=90s", "-k", dir)
}
