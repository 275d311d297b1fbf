package watch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// Kind is which controller an object belongs to.
type Kind string

// The kinds.
const (
	Pipeline Kind = "Pipeline"
	Stage    Kind = "Stage"
)

// settle is how long a wake-up waits, so that a burst of notices costs one reconcile.
const settle = 100 * time.Millisecond

// Access connects to the server of a pipeline.
type Access interface {
	Client(ctx context.Context, pipeline *v1alpha1.Pipeline) (*jetstream.Client, error)
}

// Watch knows who looks after what. Its methods may be called from any goroutine.
type Watch struct {
	// access is asked at each pulse.
	access   Access
	interval time.Duration

	mu        sync.Mutex
	queues    map[Kind]queue
	following map[object]Interest
	// by asset: the objects to wake.
	pipelines map[types.NamespacedName]*pulse
	assets    map[asset]map[object]bool
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// object is one Pipeline or Stage.
type object struct {
	kind Kind
	name types.NamespacedName
}

// asset is a stream, a consumer or, with neither, all of a connection.
type asset struct{ connection, stream, consumer string }

// Interest is what an object looks after.
type Interest struct {
	// Pipeline of the object.
	Pipeline types.NamespacedName
	// Connection that it used, or that failed; empty when there is none.
	Connection string
	// Streams and Consumers that it wants to exist, whether they do or not.
	Streams   []string
	Consumers []Consumer
}

// Consumer names a durable.
type Consumer struct{ Stream, Name string }

// New returns a Watch that asks for new events of each pipeline in the given interval.
func New(access Access, interval time.Duration) *Watch {
	return &Watch{
		access: access, interval: interval, queues: map[Kind]queue{}, following: map[object]Interest{},
		pipelines: map[types.NamespacedName]*pulse{}, assets: map[asset]map[object]bool{},
	}
}

// Source wakes a controller.
func (w *Watch) Source(kind Kind) source.Source {
	return source.Func(func(_ context.Context, q queue) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queues[kind] = q
		return nil
	})
}

// Follow replaces what an object looks after.
func (w *Watch) Follow(kind Kind, name types.NamespacedName, interest Interest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := object{kind, name}
	before, known := w.following[o]
	if known && before.equal(interest) {
		return
	}
	w.drop(o)
	w.following[o] = interest
	for _, a := range interest.assets() {
		if w.assets[a] == nil {
			w.assets[a] = map[object]bool{}
		}
		w.assets[a][o] = true
	}
}

// Pulse has the ingress of a pipeline looked at from now on. The spec says where its server is; it is
// copied, since the reconciler goes on to write to the object.
func (w *Watch) Pulse(pipeline *v1alpha1.Pipeline, ingress string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := types.NamespacedName{Namespace: pipeline.Namespace, Name: pipeline.Name}
	p := w.pipelines[name]
	if p == nil {
		p = &pulse{name: name}
		w.pipelines[name] = p
	}
	p.pipeline, p.ingress = &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}, ingress
	pipeline.Spec.DeepCopyInto(&p.pipeline.Spec)
}

// Forget ends what Follow and Pulse began.
func (w *Watch) Forget(kind Kind, name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(object{kind, name})
	if kind == Pipeline {
		delete(w.pipelines, name)
	}
}

func (w *Watch) drop(o object) {
	for _, a := range w.following[o].assets() {
		delete(w.assets[a], o)
		if len(w.assets[a]) == 0 {
			delete(w.assets, a)
		}
	}
	delete(w.following, o)
}

// Notify wakes those who look after what a notice speaks of.
func (w *Watch) Notify(n jetstream.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for o := range w.assets[asset{n.Connection, n.Stream, n.Consumer}] {
		w.wake(o)
	}
}

// wakeAll wakes a pipeline and its stages.
func (w *Watch) wakeAll(pipeline types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for o, interest := range w.following {
		if interest.Pipeline == pipeline {
			w.wake(o)
		}
	}
}

func (w *Watch) wake(o object) {
	if q := w.queues[o.kind]; q != nil {
		q.AddAfter(reconcile.Request{NamespacedName: o.name}, settle)
	}
}

func (i Interest) assets() []asset {
	if i.Connection == "" {
		return nil
	}
	all := []asset{{connection: i.Connection}}
	for _, s := range i.Streams {
		all = append(all, asset{connection: i.Connection, stream: s})
	}
	for _, c := range i.Consumers {
		all = append(all, asset{i.Connection, c.Stream, c.Name})
	}
	return all
}

func (i Interest) equal(other Interest) bool {
	return i.Pipeline == other.Pipeline && i.Connection == other.Connection &&
		slices.Equal(i.Streams, other.Streams) && slices.Equal(i.Consumers, other.Consumers)
}

// pulses are the pipelines to look at, in a stable order.
func (w *Watch) pulses() []*pulse {
	w.mu.Lock()
	defer w.mu.Unlock()
	byName := func(a, b types.NamespacedName) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	}
	names := slices.SortedFunc(maps.Keys(w.pipelines), byName)
	all := make([]*pulse, len(names))
	for i, name := range names {
		all[i] = w.pipelines[name]
	}
	return all
}
