package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/collect"
)

func testRestart(t *testing.T, w *world) {
	stop := w.collect(t)
	w.createEvent(t, "a", "Unhealthy")
	w.series(t, "a", 3)
	w.createPod(t, "web-1")
	w.status(t, "web-1", func(s *corev1.PodStatus) {
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-9)}}}}
	})
	sum := func(want map[string]uint32) {
		t.Helper()
		harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
		harness.Consistently(t, 300*time.Millisecond, func() error { return w.sums(t.Context(), want) })
	}
	sum(map[string]uint32{"Unhealthy": 3, typePodRestarted: 1})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.series(t, "a", 8)
	w.createEvent(t, "b", "FailedMount")
	w.status(t, "web-1", func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount = 4 })
	stop = w.collect(t)
	sum(map[string]uint32{"Unhealthy": 8, "FailedMount": 1, typePodRestarted: 4})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.collect(t)
	sum(map[string]uint32{"Unhealthy": 8, "FailedMount": 1, typePodRestarted: 4})
}

// sums adds up the counts of the events by reason or type.
func (w *world) sums(ctx context.Context, want map[string]uint32) error {
	events, err := w.read(ctx)
	if err != nil {
		return err
	}
	if err := doubles(events); err != nil {
		return err
	}
	got := map[string]uint32{}
	for _, e := range events {
		if reason := e.GetKubernetesEvent().GetReason(); reason != "" {
			got[reason] += e.Count
		} else {
			got[e.Type] += e.Count
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("counts: got %v, want %v", got, want)
	}
	return nil
}

// Without its bucket a collector finds where it stood in the stream.
func testLostCheckpoint(t *testing.T, w *world) {
	stop := w.collect(t)
	w.createEvent(t, "a", "Unhealthy")
	w.series(t, "a", 3)
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), map[string]uint32{"Unhealthy": 3}) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteKeyValue(t.Context(), "millrace-collect"); err != nil {
		t.Fatal(err)
	}
	w.series(t, "a", 5)
	w.collect(t)
	want := map[string]uint32{"Unhealthy": 5}
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
	harness.Consistently(t, 300*time.Millisecond, func() error { return w.sums(t.Context(), want) })
}

// Whoever deletes the bucket under a collector ends it; the next one reads the stream.
func testDeletedBucket(t *testing.T, w *world) {
	for name, again := range map[string]bool{"deleted": false, "made anew": true} {
		ended := make(chan error, 1)
		go func() {
			ended <- Run(t.Context(), Options{
				Clientset: w.Interface, Metadata: w.meta, JetStream: w.js, Subject: testSubject, Cluster: "test", History: time.Hour, CheckpointInterval: 50 * time.Millisecond,
			})
		}()
		w.createEvent(t, strings.ReplaceAll(name, " ", "-"), "Unhealthy")
		harness.Eventually(t, 15*time.Second, func() error {
			_, err := w.js.KeyValue(t.Context(), "millrace-collect")
			return err
		})
		time.Sleep(300 * time.Millisecond) // a checkpoint
		if err := w.js.DeleteKeyValue(t.Context(), "millrace-collect"); err != nil {
			t.Fatal(err)
		}
		if again {
			if _, err := collect.OpenBucket(t.Context(), w.js, "millrace-collect"); err != nil {
				t.Fatal(err)
			}
		}
		w.series(t, strings.ReplaceAll(name, " ", "-"), 2)
		select {
		case err := <-ended:
			if !errors.Is(err, collect.ErrCheckpointLost) {
				t.Errorf("%s: got %v, want ErrCheckpointLost", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the collector goes on", name)
		}
	}
	w.collect(t)
	want := map[string]uint32{"Unhealthy": 4}
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
	harness.Consistently(t, 300*time.Millisecond, func() error { return w.sums(t.Context(), want) })
}

// A first start does not tell old stories, but knows them.
func testHistory(t *testing.T, w *world) {
	w.createPod(t, "old")
	set := func(restarts int32, reason string, ago int) {
		t.Helper()
		w.status(t, "old", func(s *corev1.PodStatus) {
			s.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "app", RestartCount: restarts, LastTerminationState: corev1.ContainerState{Terminated: ended(reason, 137, -ago)},
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-ago + 1)}},
			}}
		})
	}
	set(40, "OOMKilled", 600)
	time.Sleep(1100 * time.Millisecond) // the pod must be older than the first start, in seconds
	history := func(o *Options) { o.History = 0 }
	stop := w.collect(t, history)
	harness.Consistently(t, 700*time.Millisecond, func() error { return w.sums(t.Context(), map[string]uint32{}) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	set(42, "OOMKilled", -2)
	w.collect(t, history)
	harness.Eventually(t, 15*time.Second, func() error {
		return w.sums(t.Context(), map[string]uint32{typePodRestarted: 2, typePodOOMKilled: 1})
	})
}

func testForeignMessages(t *testing.T, w *world) {
	w.collect(t)
	for i := range 5 {
		if _, err := w.js.Publish(t.Context(), testSubject, []byte(`{"id":"by hand"}`)); err != nil {
			t.Fatal(err)
		}
		w.createEvent(t, fmt.Sprint("e", i), "Unhealthy")
	}
	want := map[string]uint32{"Unhealthy": 5}
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
}

// An Event that anybody may write, with a reason too large for NATS, or of bytes that are no text,
// holds up nothing.
func testBadEvents(t *testing.T, w *world) {
	large := make([]byte, 900<<10)
	_, _ = rand.Read(large)
	for name, reason := range map[string]string{"large": base64.StdEncoding.EncodeToString(large), "broken": "Rea\xffson"} {
		e, err := w.CoreV1().Events(w.namespace).Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: w.namespace, Name: name},
			Reason:         reason, Type: corev1.EventTypeWarning, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = w.CoreV1().Events(w.namespace).Delete(context.Background(), e.Name, metav1.DeleteOptions{})
		})
	}
	for _, name := range []string{"before", "after"} {
		stop := w.collect(t, func(o *Options) { o.DrainTimeout = time.Second })
		w.createEvent(t, name, "Unhealthy")
		harness.Eventually(t, 5*time.Second, func() error {
			events, err := w.read(t.Context())
			if err == nil && strings.Count(fmt.Sprint(lines(events)), " Unhealthy") != map[string]int{"before": 1, "after": 2}[name] {
				err = fmt.Errorf("got %d events", len(events))
			}
			return err
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	if events := w.published(t); len(events) != 4 || doubles(events) != nil {
		t.Errorf("got %d events, want 4, none twice", len(events))
	}
}

// The second collector takes over; the first ends when it wants to write.
func testTwoCollectors(t *testing.T, w *world) {
	first := make(chan error, 1)
	o := Options{Clientset: w.Interface, Metadata: w.meta, JetStream: w.js, Subject: testSubject, Cluster: "test", CheckpointInterval: time.Hour, History: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { first <- Run(ctx, o) }()
	second := make(chan error, 1)
	go func() { second <- Run(ctx, o) }()
	var err error
	for i := range 100 {
		w.createEvent(t, fmt.Sprint("e", i), "Unhealthy")
		select {
		case err = <-first:
		case err = <-second:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	if !errors.Is(err, collect.ErrSuperseded) {
		t.Fatalf("got %v, want ErrSuperseded", err)
	}
	events, err := w.EventsV1().Events(w.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"Unhealthy": uint32(len(events.Items))}
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
}

// Nothing can be published and the queue is full: a collector that is told to end does so.
func testDrainTimeout(t *testing.T, w *world) {
	stop := w.collect(t, func(o *Options) { o.Queue, o.DrainTimeout = 1, 500*time.Millisecond })
	w.createEvent(t, "a", "Unhealthy")
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), map[string]uint32{"Unhealthy": 1}) })
	if err := w.js.DeleteStream(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
	for i := range 12 { // more than the publisher has in hand
		w.createEvent(t, fmt.Sprint("more-", i), "Unhealthy")
		time.Sleep(30 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	if err := stop(); !errors.Is(err, collect.ErrDrain) {
		t.Errorf("got %v, want %v", err, collect.ErrDrain)
	}
}

// Frames that have expired are no reason to stop, nor to publish anything again.
func testExpired(t *testing.T, w *world) {
	stop := w.collect(t)
	w.createEvent(t, "a", "Unhealthy")
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), map[string]uint32{"Unhealthy": 1}) })
	purge := func() {
		t.Helper()
		stream, err := w.js.Stream(t.Context(), testStream)
		if err == nil {
			err = stream.Purge(t.Context(), jetstream.WithPurgeSubject(testSubject))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond) // a checkpoint
	purge()
	w.createEvent(t, "b", "FailedMount")
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), map[string]uint32{"FailedMount": 1}) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	purge()
	w.collect(t)
	w.createEvent(t, "c", "Evicted")
	want := map[string]uint32{"Evicted": 1}
	harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
	harness.Consistently(t, 300*time.Millisecond, func() error { return w.sums(t.Context(), want) })
}

// The rights that docs/collectors.md lists are enough, and the collector needs no more.
func TestRightsInNATS(t *testing.T) {
	plane := harness.StartAPIServer(t)
	server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `
authorization {
  users: [
    {user: admin, password: admin}
    {user: collector, password: collector, permissions: {
      publish: [` + strings.Join(documentedRights(t), ", ") + `]
      subscribe: ["_INBOX.>"]
    }}
  ]
}`})
	w := newWorld(t, plane, strings.Replace(server.URL(), "nats://", "nats://admin:admin@", 1))
	connection, err := nats.Connect(strings.Replace(server.URL(), "nats://", "nats://collector:collector@", 1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.Error(err) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	js, err := jetstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // a first start, and one that reads back
		stop := w.collect(t, func(o *Options) { o.JetStream = js })
		w.createEvent(t, fmt.Sprint("e", i), "Unhealthy")
		want := map[string]uint32{"Unhealthy": uint32(i + 1)}
		harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), want) })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// documentedRights are the subjects in the code block behind "publish:" in the docs.
func documentedRights(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/collectors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "# publish\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/collectors.md has no block that begins with # publish")
	}
	var rights []string
	for _, line := range strings.Split(block, "\n") {
		if subject, _, _ := strings.Cut(line, " "); subject != "" {
			rights = append(rights, strconv.Quote(subject))
		}
	}
	return rights
}
