package kubernetes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/workers/collect"
)

// activity changes the cluster all the time and knows what it did.
type activity struct {
	*world
	done sync.WaitGroup
	mu   sync.Mutex
	want map[string]uint32
}

// start counts up series of events and restarts pods until ctx ends.
func (a *activity) start(t *testing.T, ctx context.Context) {
	a.want = map[string]uint32{}
	for i := range 6 {
		name := fmt.Sprint("series-", i)
		reason := fmt.Sprint("Reason", i)
		a.createEvent(t, name, reason)
		a.did(reason, 1)
		a.done.Go(func() {
			for count := 2; ctx.Err() == nil; count++ {
				step := 1 + rand.IntN(3)
				count += step - 1
				a.series(t, name, count)
				a.did(reason, uint32(step))
				time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			}
		})
	}
	for i := range 3 {
		name := fmt.Sprint("web-", i)
		a.createPod(t, name)
		a.done.Go(func() {
			for restarts := int32(1); ctx.Err() == nil; restarts++ {
				a.status(t, name, func(s *corev1.PodStatus) {
					s.ContainerStatuses = []corev1.ContainerStatus{{
						Name: "app", RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(0)}},
					}}
				})
				a.did(typePodRestarted, 1)
				time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
			}
		})
	}
}

func (a *activity) did(what string, n uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.want[what] += n
}

// settle waits until what was published is what happened.
func (a *activity) settle(t *testing.T) {
	t.Helper()
	a.done.Wait()
	total := uint32(0)
	for _, n := range a.want {
		total += n
	}
	harness.Eventually(t, 60*time.Second, func() error { return a.sums(t.Context(), a.want) })
	harness.Consistently(t, 500*time.Millisecond, func() error { return a.sums(t.Context(), a.want) })
	t.Logf("%d occurrences, none lost, none doubled: %v", total, a.want)
}

// writers is the number of collectors that published a frame.
func (w *world) writers(t *testing.T) int {
	t.Helper()
	stream, err := w.js.Stream(t.Context(), testStream)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for from := uint64(1); ; from++ {
		msg, err := stream.GetMsg(t.Context(), from)
		if err != nil {
			break
		}
		seen[msg.Header.Get(collect.HeaderCollector)] = true
	}
	return len(seen)
}

// collectorProcess runs the command in a process of its own.
func collectorProcess(t *testing.T, w *world, n int) *process.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Command{
		Name: "collector", Path: self, Dir: t.TempDir(), LogFile: filepath.Join(t.TempDir(), fmt.Sprintf("collector-%d.log", n)),
		Args: []string{"collect", "--nats-url", w.url, "--subject", testSubject, "--cluster", "test", "--kubeconfig", w.plane.Kubeconfig()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("collector %d:\n%s", n, p.Tail(2000))
		}
	})
	return p
}

// The collector is killed again and again while the cluster changes.
func TestKill9(t *testing.T) {
	plane := harness.StartAPIServer(t)
	server := harness.StartNATS(t, natsserver.Options{})
	a := &activity{world: newWorld(t, plane, server.URL())}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.start(t, ctx)
	for i := range 12 {
		before := a.writers(t)
		p := collectorProcess(t, a.world, i)
		time.Sleep(400*time.Millisecond + time.Duration(rand.IntN(900))*time.Millisecond)
		if i%2 == 0 { // every other one comes to publish, however slow the machine is
			harness.Eventually(t, 30*time.Second, func() error {
				if a.writers(t) == before {
					return fmt.Errorf("collector %d has not published", i)
				}
				return nil
			})
		}
		p.Kill()
	}
	last := collectorProcess(t, a.world, 99)
	time.Sleep(time.Second)
	cancel()
	a.settle(t)
	if n := a.writers(t); n < 6 {
		t.Errorf("only %d of 13 collectors came to publish: the test shows nothing", n)
	}
	// An orderly end writes all that is left, and the next start has nothing to add.
	if !last.Stop(20 * time.Second) {
		t.Error("collector did not end on SIGTERM")
	}
	collectorProcess(t, a.world, 100)
	harness.Consistently(t, 2*time.Second, func() error { return a.sums(t.Context(), a.want) })
}

// NATS and the API server crash and come back under a collector that goes on.
func TestServersCrash(t *testing.T) {
	plane := harness.StartAPIServer(t)
	server := harness.StartNATS(t, natsserver.Options{})
	a := &activity{world: newWorld(t, plane, server.URL())}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.start(t, ctx)
	collectorProcess(t, a.world, 0)
	for range 3 {
		time.Sleep(time.Second)
		server.Kill9()
		time.Sleep(time.Second)
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	cancel()
	a.settle(t)
	restartAPIServer(t, plane)
	a.createEvent(t, "after", "After")
	a.did("After", 1)
	a.settle(t)
}

func restartAPIServer(t *testing.T, plane *kube.ControlPlane) {
	t.Helper()
	if err := plane.KillComponent("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := plane.RestartComponent(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
}
