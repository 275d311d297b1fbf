package watch_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// bench is a Watch on a real server, with the queues of the two controllers.
type bench struct {
	watch  *watch.Watch
	client *jetstream.Client
	js     natsjs.JetStream
	queues map[watch.Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// access connects to one server, whatever a pipeline says, but for the one whose server does not answer.
type access struct {
	pool   *jetstream.Pool
	server jetstream.Server
}

const silent = "silent"

func (a access) Client(ctx context.Context, p *v1alpha1.Pipeline) (*jetstream.Client, error) {
	if p.GetName() == silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return a.pool.Client(a.server)
}

func start(t *testing.T) *bench {
	t.Helper()
	s := harness.RunEmbeddedNATS(t, natsserver.Options{})
	b := &bench{queues: map[watch.Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]{}}
	pool := jetstream.NewPool(jetstream.PoolOptions{Notify: func(n jetstream.Notice) { b.watch.Notify(n) }})
	t.Cleanup(pool.Close)
	a := access{pool, jetstream.Server{URL: s.URL()}}
	b.watch = watch.New(a, time.Second)
	for _, kind := range []watch.Kind{watch.Pipeline, watch.Stage} {
		q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		t.Cleanup(q.ShutDown)
		if err := b.watch.Source(kind).Start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		b.queues[kind] = q
	}
	var err error
	if b.client, err = a.Client(t.Context(), &v1alpha1.Pipeline{}); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if b.js, err = natsjs.New(nc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A", "B"} {
		if _, err := b.js.CreateStream(t.Context(), natsjs.StreamConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.js.CreateConsumer(t.Context(), name, natsjs.ConsumerConfig{Durable: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "shop", Name: s} }

// follow has pipeline a look after stream A, its stage after the consumer, and b likewise.
func (b *bench) follow() {
	time.Sleep(300 * time.Millisecond) // what was told of the making of the streams has come
	for pipeline, stream := range map[string]string{"a": "A", "b": "B"} {
		b.watch.Follow(watch.Pipeline, name(pipeline), watch.Interest{
			Pipeline: name(pipeline), Connection: b.client.Connection(), Streams: []string{stream},
		})
		b.watch.Follow(watch.Stage, name(pipeline+"-s"), watch.Interest{
			Pipeline: name(pipeline), Connection: b.client.Connection(), Consumers: []watch.Consumer{{Stream: stream, Name: "c"}},
		})
		b.watch.Pulse(&v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: pipeline}}, stream)
	}
}

// woken waits until as many are woken as are wanted and a moment longer, and returns all.
func (b *bench) woken(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, q := range b.queues {
			for q.Len() > 0 {
				request, _ := q.Get()
				q.Done(request)
				if !slices.Contains(got, request.Name) {
					got = append(got, request.Name)
				}
			}
		}
		if len(got) == len(want) && time.Until(deadline) > 500*time.Millisecond {
			deadline = time.Now().Add(500 * time.Millisecond)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("woken: got %v, want %v", got, want)
	}
}

func TestOnlyThoseAreWokenWhoLookAfterWhatChanged(t *testing.T) {
	b := start(t)
	b.follow()
	if err := b.js.DeleteConsumer(t.Context(), "A", "c"); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "a-s")
	if _, err := b.js.UpdateStream(t.Context(), natsjs.StreamConfig{Name: "B", Subjects: []string{"B.>"}, MaxMsgs: 7}); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "b")
	b.watch.Notify(jetstream.Notice{Connection: b.client.Connection()})
	b.woken(t, "a", "a-s", "b", "b-s")
	b.watch.Notify(jetstream.Notice{Connection: "another"})
	b.woken(t)
	b.watch.Forget(watch.Pipeline, name("b"))
	if err := b.js.DeleteStream(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "b-s") // its consumer went with the stream
}

func TestWhoFollowsSomethingElseIsNotWokenByTheFormer(t *testing.T) {
	b := start(t)
	b.follow()
	b.watch.Follow(watch.Pipeline, name("a"), watch.Interest{Pipeline: name("a"), Connection: b.client.Connection(), Streams: []string{"B"}})
	if err := b.js.DeleteStream(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "a-s") // its consumer went with the stream
	if err := b.js.DeleteStream(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "a", "b", "b-s")
}

// The server of another pipeline that does not answer delays nothing.
func TestPulseWakesThePipelineThatGotEvents(t *testing.T) {
	b := start(t)
	b.follow()
	b.watch.Pulse(&v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: silent}}, "C")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.watch.Start(ctx) }()
	time.Sleep(2500 * time.Millisecond) // each was looked at
	b.woken(t)
	if _, err := b.js.Publish(t.Context(), "A.x", nil); err != nil {
		t.Fatal(err)
	}
	b.woken(t, "a", "a-s")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
