//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

var healthyFor = flag.Duration("healthy", 0, "how long TestHealthyHalfHour repeats its round; once at least")

const (
	highestInfo = 12               // the severity number of INFO4
	patience    = 60 * time.Second // until the last symptom that is held back would have been told
)

// TestHealthyHalfHour does to a cluster what its people do all day, and does it well: the pipeline that watches
// has nothing to say above INFO. At the end one Deployment crashes, to show that somebody was listening.
func TestHealthyHalfHour(t *testing.T) {
	together(t)
	h := &healthyCluster{cluster: watchedCluster(t), reported: map[string]bool{}, began: time.Now()}
	h.settle(t, "the installation of Millrace and of its pipeline", patience/2)
	for round := 1; round == 1 || time.Since(h.began) < *healthyFor; round++ {
		h.round(t, round)
	}
	h.settle(t, "the time after all of it", patience)
	h.wasSeen(t)
	t.Logf("%d rollouts in %s", h.rollouts, time.Since(h.began).Round(time.Second))

	h.apply(crashLoop)
	harness.Eventually(t, 120*time.Second, func() error { return h.insightAbout(t, "payments") })
}

// healthyCluster is a cluster in which nothing breaks.
type healthyCluster struct {
	*cluster
	rollouts  int
	began     time.Time
	namespace string
	reported  map[string]bool // insights that have failed the test already
}

func (h *healthyCluster) round(t *testing.T, round int) {
	t.Helper()
	h.namespace = fmt.Sprintf("shop-%d", round)
	h.run("kubectl", "create", "namespace", h.namespace)
	for _, step := range healthySteps {
		h.t.Logf("%6.1f s: %s", time.Since(h.began).Seconds(), step.name)
		step.run(h, t, round)
		h.settle(t, fmt.Sprintf("%s (round %d)", step.name, round), 5*time.Second)
	}
}

// settle waits for the pipeline to take in what happened, and fails the test for each insight above INFO.
func (h *healthyCluster) settle(t *testing.T, step string, during time.Duration) {
	t.Helper()
	time.Sleep(during) // nothing can be waited for: what is right is that nothing comes
	for _, one := range h.insights(t) {
		if key := one.id + one.at.String(); one.severity > highestInfo && !h.reported[key] {
			h.reported[key] = true
			t.Errorf("told until the end of: %s\n%v", step, one)
		}
	}
}

// wasSeen fails the test unless the pipeline saw what was done: silence about what nobody saw proves nothing.
func (h *healthyCluster) wasSeen(t *testing.T) {
	t.Helper()
	types := h.seenTypes(t)
	for _, want := range []string{
		"k8s.pod.ready", "k8s.pod.succeeded", "k8s.pod.deleted", "k8s.pod.evicted",
		"k8s.deployment.rollout_complete", "k8s.statefulset.rollout_complete", "k8s.daemonset.rollout_complete",
		"k8s.deployment.config_changed", "k8s.deployment.image_changed", "k8s.deployment.restart_requested", "k8s.deployment.scaled",
		"k8s.job.complete", "k8s.node.cordoned", "k8s.node.uncordoned", "k8s.deployment.deleted",
	} {
		if types[want] == 0 {
			t.Errorf("no event %s came through the pipeline", want)
		}
	}
	t.Logf("events that came through the pipeline: %v", types)
}

// kubectl runs kubectl in the namespace of the round.
func (h *healthyCluster) kubectl(args ...string) string {
	h.t.Helper()
	return h.run("kubectl", append([]string{"--namespace", h.namespace}, args...)...)
}

// rolledOut waits for workloads to be at their newest generation, each of them ready.
func (h *healthyCluster) rolledOut(workloads ...string) {
	h.t.Helper()
	for _, w := range workloads {
		h.kubectl("rollout", "status", w, "--timeout", "120s")
		h.rollouts++
	}
}

// applyHere applies a manifest in the namespace of the round. MARKS is a folder of the host that outlives pods.
func (h *healthyCluster) applyHere(t *testing.T, manifest string) {
	t.Helper()
	h.apply(strings.NewReplacer("NAMESPACE", h.namespace, "MARKS", t.TempDir()).Replace(manifest))
}
