package chart_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/controllers/operator"
)

// checks runs helm test, which asks NATS and the cluster as the operator does.
func checks(t *testing.T, s *site) {
	stdout, stderr, err := s.helm.both(t.Context(), "test", "demo", "--namespace", namespace, "--timeout", "2m", "--logs")
	if err != nil {
		t.Fatal(err)
	}
	// Each on a line of its own.
	for _, want := range []string{"Phase:          Succeeded", "\nok    nats", "\nok    jetstream", "\nok    definitions", "\nok    operator     "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got\n%s\nwant %q in it", stdout, want)
		}
	}
	if all := stdout + stderr; strings.Contains(all, `\n`) {
		t.Errorf("ends of lines are written as text:\n%s", all)
	}
	if pods, err := s.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=check"}); err != nil || len(pods.Items) > 0 {
		t.Errorf("%d pods of the test are left: %v", len(pods.Items), err)
	}
}

// checkFails points the release to a server that is not there.
func checkFails(t *testing.T, s *site) {
	right := s.nats
	s.nats = "nats://127.0.0.1:1"
	s.install(t, "upgrade")
	s.nats = right
	out, err := s.helm.run(t.Context(), "test", "demo", "--namespace", namespace, "--timeout", "2m", "--logs")
	if err == nil {
		t.Fatalf("helm test passes without NATS:\n%s", out)
	}
	for _, want := range []string{"FAIL  nats         NATS at nats://127.0.0.1:1 is unreachable", "check the URL (nats.url of the chart)", "ok    definitions"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	s.install(t, "upgrade")
	s.ready(t, "small")
}

// leading is the name of the pod of the operator that leads.
func (s *site) leading(t *testing.T) string {
	t.Helper()
	pods, err := s.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=operator"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if strings.Contains(s.scrape(t, &pod, "metrics"), leads) {
			return pod.Name
		}
	}
	t.Fatalf("none of %d operators leads", len(pods.Items))
	return ""
}

// holder is the identity of the operator that leads: the name of its host, and a number that each process has of
// its own.
func (s *site) holder(t *testing.T) string {
	t.Helper()
	lease, err := s.CoordinationV1().Leases(namespace).Get(t.Context(), operator.LeaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// takesOver kills the operator that leads. Its Lease lasts for 15 seconds after it was renewed last; then another
// process leads, and does the work: the one that stood by, or the killed one's successor if that was faster.
func takesOver(t *testing.T, s *site) {
	first, pod := s.holder(t), s.leading(t)
	pid, err := s.node.Pid(namespace, pod, "operator")
	if err != nil {
		t.Fatal(err)
	}
	workers := s.workers(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	s.create(t, "after")
	next := first
	for ; next == first || next == ""; time.Sleep(50 * time.Millisecond) {
		if time.Since(killed) > time.Minute {
			t.Fatalf("nobody took over from %s within a minute", first)
		}
		next = s.holder(t)
	}
	took := time.Since(killed)
	s.ready(t, "after")
	t.Logf("%s was killed; %s leads after %s, and a Pipeline made meanwhile is Ready after %s",
		pod, s.leading(t), took.Round(10*time.Millisecond), time.Since(killed).Round(10*time.Millisecond))
	// The Lease of 15 s, and two tries, one every 2 s and a little.
	if took > 22*time.Second {
		t.Errorf("took over after %s, want within 22s", took)
	}
	s.delete(t, "after")
	if got := s.workers(t); got != workers {
		t.Errorf("workers: got pods %s, want %s", got, workers)
	}
	s.available(t, "demo-millrace")
}
