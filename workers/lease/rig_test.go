package lease_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"millrace.dev/millrace/workers/lease"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	every  = 100 * time.Millisecond
	expire = time.Second
	bucket = "leases"
	key    = "default.test.validate"
)

// rig is a NATS server with a bucket, and workers.
type rig struct {
	t    testing.TB
	opts *server.Options
	srv  *server.Server
	nc   *nats.Conn // of the test

	mu      sync.Mutex
	workers []*worker
}

func newRig(t testing.TB, options ...func(*server.Options)) *rig {
	t.Helper()
	r := &rig{t: t, opts: &server.Options{
		Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	for _, o := range options {
		o(r.opts)
	}
	r.start()
	r.nc = r.connect("admin")
	t.Cleanup(r.stop)
	return r
}

// users are admin, who may do everything, and worker, who may listen to its inbox and publish.
func users(publish *server.SubjectPermission) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "worker", Password: "worker", Permissions: &server.Permissions{
				Publish: publish, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_worker.>", "wake.test"}},
			}},
		}
	}
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *rig) start() {
	r.t.Helper()
	srv, err := server.NewServer(r.opts.Clone())
	if err != nil {
		r.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		r.t.Fatal("the NATS server did not start")
	}
	r.srv = srv
}

func (r *rig) stop() {
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
}

func (r *rig) connect(user string) *nats.Conn {
	r.t.Helper()
	url := fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port)
	if len(r.opts.Users) > 0 {
		url = fmt.Sprintf("nats://%s:%s@127.0.0.1:%d", user, user, r.opts.Port)
	}
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) jetstream() jetstream.JetStream {
	r.t.Helper()
	js, err := jetstream.New(r.nc)
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

// bucket does what the operator does.
func (r *rig) bucket() {
	r.t.Helper()
	if _, err := r.jetstream().CreateKeyValue(r.t.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) kv() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.jetstream().KeyValue(r.t.Context(), bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

// change changes the stream of the bucket.
func (r *rig) change(change func(*jetstream.StreamConfig)) {
	r.t.Helper()
	s, err := r.jetstream().Stream(r.t.Context(), "KV_"+bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := r.jetstream().UpdateStream(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
}

// worker is a keeper and a holder that notes what it is told.
type worker struct {
	*lease.Keeper
	r    *rig
	id   string
	conn *nats.Conn
	stop func() // kills it: no Leave

	mu    sync.Mutex
	holds map[int]bool
	ends  map[int]bool // it was told to end
	calls []string
	drain func(lane int) // before Released; nil = at once
}

// add starts a worker.
func (r *rig) add(id string, lanes int, changes ...func(*lease.Options)) *worker {
	r.t.Helper()
	w := &worker{r: r, id: id, conn: r.connect("worker"), holds: map[int]bool{}, ends: map[int]bool{}}
	o := lease.Options{Conn: w.conn, Bucket: bucket, Key: key, Worker: id, Lanes: lanes, Every: every, Expire: expire}
	for _, c := range changes {
		c(&o)
	}
	var err error
	if w.Keeper, err = lease.New(o); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, w); err != nil {
			r.t.Errorf("run %s: %v", id, err)
		}
	}()
	w.stop = func() { cancel(); <-done }
	r.t.Cleanup(w.stop)
	r.mu.Lock()
	r.workers = append(r.workers, w)
	r.mu.Unlock()
	return w
}

func (w *worker) Acquire(lane int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds[lane] {
		w.r.t.Errorf("%s: lane %d acquired twice", w.id, lane)
	}
	w.holds[lane] = true
	w.calls = append(w.calls, fmt.Sprint("acquire ", lane))
}

func (w *worker) Release(lane int) { w.end(lane, "release ") }
func (w *worker) Lost(lane int)    { w.end(lane, "lost ") }

func (w *worker) end(lane int, call string) {
	w.mu.Lock()
	if !w.holds[lane] {
		w.r.t.Errorf("%s: %s%d, which it does not hold", w.id, call, lane)
	}
	w.calls = append(w.calls, fmt.Sprint(call, lane))
	drain, before := w.drain, w.ends[lane]
	w.ends[lane] = true
	w.mu.Unlock()
	if before {
		return
	}
	go func() {
		if drain != nil {
			drain(lane)
		}
		w.mu.Lock()
		delete(w.holds, lane)
		delete(w.ends, lane)
		w.mu.Unlock()
		w.Released(lane)
	}()
}

// drainWhen has each drain of the worker wait until something comes on the channel.
func (w *worker) drainWhen() chan struct{} {
	gate := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain = func(int) { <-gate }
	return gate
}

// forget is the holder's part of Keeper.Lost.
func (w *worker) forget(lane int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.holds, lane)
}

func (w *worker) held() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lanes []int
	for lane := range w.holds {
		lanes = append(lanes, lane)
	}
	slices.Sort(lanes)
	return lanes
}

func (w *worker) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// wantShares waits until the workers hold so many lanes, in any order, and each lane is held
// once.
func wantShares(t testing.TB, within time.Duration, lanes int, workers []*worker, want ...int) time.Duration {
	t.Helper()
	slices.Sort(want)
	began := time.Now()
	eventually(t, within, func() string {
		var got []int
		holders := make([]int, lanes)
		for _, w := range workers {
			h := w.held()
			got = append(got, len(h))
			for _, lane := range h {
				holders[lane]++
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Sprintf("shares %v, want %v", got, want)
		}
		for lane, n := range holders {
			if n != 1 {
				return fmt.Sprintf("lane %d has %d holders", lane, n)
			}
		}
		return ""
	})
	return time.Since(began)
}

// eventually waits until problem returns "".
func eventually(t testing.TB, within time.Duration, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, p)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
