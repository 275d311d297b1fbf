package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/lease"
)

// patient workers beat as they do by default, and wake each other.
func patient(o *lease.Options) { o.Every, o.Expire, o.Wake = 0, 0, "wake.test" }

func TestShareEvenly(t *testing.T) {
	r := newRig(t)
	r.bucket()
	all := []*worker{r.add("a", 8), r.add("b", 8), r.add("c", 8)}
	wantShares(t, 5*time.Second, 8, all, 3, 3, 2)
	wantNoMoves(t, all, 10*every)
}

func TestTheLanesOfTheDeadMove(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b, c := r.add("a", 8), r.add("b", 8), r.add("c", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b, c}, 3, 3, 2)
	c.stop()
	took := wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	t.Logf("took %s", took)
	if took < expire-2*every || took > expire+time.Second {
		t.Errorf("took %s, want about %s", took, expire)
	}
}

func TestLeaveHandsOverAtOnce(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b, c := r.add("a", 8, patient), r.add("b", 8, patient), r.add("c", 8, patient)
	wantShares(t, 5*time.Second, 8, []*worker{a, b, c}, 3, 3, 2)
	a.stop()
	began := time.Now()
	if err := a.Leave(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	wantShares(t, 5*time.Second, 8, []*worker{b, c}, 4, 4)
	took := time.Since(began)
	t.Logf("took %s", took)
	if took > 500*time.Millisecond {
		t.Errorf("took %s, want at most 500ms", took)
	}
}

func TestLeaveWithoutHints(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b := r.add("a", 8), r.add("b", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	a.stop()
	if err := a.Leave(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if took := wantShares(t, 5*time.Second, 8, []*worker{b}, 8); took >= expire {
		t.Errorf("took %s, as if it had died", took)
	}
	// Nobody is left: the table stays, and whoever comes takes everything.
	b.stop()
	if err := b.Leave(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	wantShares(t, 5*time.Second, 8, []*worker{r.add("c", 8)}, 8)
}

func TestRetireHandsOverWhatIsDrained(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b := r.add("a", 4, patient), r.add("b", 4, patient)
	wantShares(t, 5*time.Second, 4, []*worker{a, b}, 2, 2)
	gate, before := a.drainWhen(), len(b.told())
	a.Retire()
	gate <- struct{}{}
	wantShares(t, 5*time.Second, 4, []*worker{a, b}, 1, 3)
	if a.Idle() {
		t.Error("idle with a lane in hand")
	}
	gate <- struct{}{}
	wantShares(t, 5*time.Second, 4, []*worker{a, b}, 0, 4)
	eventually(t, 5*time.Second, func() string {
		if !a.Idle() {
			return "not idle"
		}
		return ""
	})
	a.stop()
	if err := a.Leave(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := b.told()[before:]; len(got) != 2 || strings.Contains(fmt.Sprint(got), "release") {
		t.Errorf("the other was told %v, want 2 lanes acquired", got)
	}
}

func TestTheNextOwnerWaitsForTheDrain(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a := r.add("a", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a}, 8)
	gate := a.drainWhen()
	b := r.add("b", 8)
	eventually(t, 5*time.Second, func() string {
		if got := a.told(); len(got) != 12 {
			return fmt.Sprintf("told %v, want 4 releases", got)
		}
		return ""
	})
	if got, want := a.told()[8:], []string{"release 4", "release 5", "release 6", "release 7"}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	time.Sleep(5 * every)
	for drained := range 4 {
		if got := b.held(); len(got) != drained {
			t.Fatalf("after %d were drained, the next owner has %v", drained, got)
		}
		gate <- struct{}{}
		wantShares(t, 5*time.Second, 8, []*worker{a, b}, 7-drained, drained+1)
	}
}

func TestStorm(t *testing.T) {
	r := newRig(t)
	r.bucket()
	var all []*worker
	for i := range 16 {
		all = append(all, r.add(fmt.Sprint("w", i), 40, func(o *lease.Options) { o.Expire = 2 * expire }))
	}
	want := append(slices.Repeat([]int{2}, 8), slices.Repeat([]int{3}, 8)...)
	t.Logf("16 joined in %s", wantShares(t, 20*time.Second, 40, all, want...))
	wantNoMoves(t, all, 10*every)
	for _, w := range all[8:] {
		w.stop()
	}
	t.Logf("8 died, found out in %s", wantShares(t, 20*time.Second, 40, all[:8], slices.Repeat([]int{5}, 8)...))
}

func TestStandby(t *testing.T) {
	r := newRig(t)
	r.bucket()
	all := []*worker{r.add("a", 1), r.add("b", 1), r.add("c", 1)}
	wantShares(t, 5*time.Second, 1, all, 0, 0, 1)
	wantNoMoves(t, all, 5*every)
	i := slices.IndexFunc(all, func(w *worker) bool { return len(w.held()) == 1 })
	all[i].stop()
	wantShares(t, 5*time.Second, 1, slices.Delete(slices.Clone(all), i, i+1), 0, 1)
}

func TestServerAway(t *testing.T) {
	r := newRig(t)
	r.bucket()
	all := []*worker{r.add("a", 8), r.add("b", 8), r.add("c", 8)}
	wantShares(t, 5*time.Second, 8, all, 3, 3, 2)
	before := told(all)
	r.stop()
	wantProblem(t, all[0], "not connected")
	time.Sleep(2 * expire)
	r.start()
	wantProblem(t, all[0], "")
	time.Sleep(2 * expire)
	if after := told(all); after != before {
		t.Errorf("lanes moved:\n%s\n%s", before, after)
	}
}

func TestAWorkerDiesWhileTheServerIsAway(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b := r.add("a", 8), r.add("b", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	r.stop()
	b.stop()
	r.start()
	wantShares(t, 10*time.Second, 8, []*worker{a}, 8)
}

// Nobody can write for longer than Expire, and all can read: nobody is dead for that.
func TestNobodyCanWrite(t *testing.T) {
	r := newRig(t)
	r.bucket()
	all := []*worker{r.add("a", 8), r.add("b", 8), r.add("c", 8)}
	wantShares(t, 5*time.Second, 8, all, 3, 3, 2)
	before := told(all)
	r.change(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 })
	for _, w := range all {
		wantProblem(t, w, "maximum allowed")
	}
	time.Sleep(2 * expire)
	r.change(func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 })
	wantProblem(t, all[0], "")
	time.Sleep(2 * expire)
	if after := told(all); after != before {
		t.Errorf("lanes moved:\n%s\n%s", before, after)
	}
}

func TestBucketIsMadeLater(t *testing.T) {
	r := newRig(t)
	a, b := r.add("a", 8), r.add("b", 8)
	wantProblem(t, a, "the bucket does not exist")
	if got := len(a.held()) + len(b.held()); got != 0 {
		t.Errorf("%d lanes are held without a bucket", got)
	}
	r.bucket()
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	wantProblem(t, a, "")
}

func TestBucketIsMadeAnew(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b := r.add("a", 8), r.add("b", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	if err := r.jetstream().DeleteKeyValue(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, a, "the bucket does not exist")
	if got := len(a.held()) + len(b.held()); got != 8 {
		t.Errorf("%d lanes are held while the bucket is away, want 8", got)
	}
	r.bucket()
	wantProblem(t, a, "")
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
}

func TestKeyIsDeleted(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b := r.add("a", 8), r.add("b", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	kv := r.kv()
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if !strings.Contains(told([]*worker{a, b}), "lost") {
			return "nobody noticed"
		}
		return ""
	})
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
}

func TestWhatIsNoTableIsLeftAlone(t *testing.T) {
	r := newRig(t)
	r.bucket()
	kv := r.kv()
	if _, err := kv.PutString(t.Context(), key, "no table"); err != nil {
		t.Fatal(err)
	}
	a := r.add("a", 2)
	wantProblem(t, a, "is no table of leases: delete the key")
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	wantShares(t, 5*time.Second, 2, []*worker{a}, 2)
}

// pausable is a worker that does not look while it is paused: its loop hangs.
func pausable(paused *atomic.Bool) func(*lease.Options) {
	return func(o *lease.Options) {
		o.Jitter = func() float64 {
			for paused.Load() {
				time.Sleep(time.Millisecond)
			}
			return 0.5
		}
	}
}

func TestAPausedWorkerLearnsThatItLostItsLanes(t *testing.T) {
	r := newRig(t)
	r.bucket()
	var paused atomic.Bool
	a, b := r.add("a", 8, pausable(&paused)), r.add("b", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	gate := a.drainWhen()
	paused.Store(true)
	wantShares(t, 5*time.Second, 8, []*worker{b}, 8)
	lanes := a.held()
	if len(lanes) != 4 {
		t.Errorf("the paused one holds %v, want what it had", lanes)
	}
	if owns, err := a.Owns(t.Context(), lanes[0]); err != nil || owns {
		t.Errorf("owns lane %d: %v, %v", lanes[0], owns, err)
	}
	paused.Store(false)
	eventually(t, 5*time.Second, func() string {
		if n := strings.Count(fmt.Sprint(a.told()), "lost"); n != 4 {
			return fmt.Sprintf("told %v, want 4 lost", a.told())
		}
		return ""
	})
	// It joins again, and gets no lane that it still works on.
	eventually(t, 5*time.Second, func() string {
		if n := strings.Count(fmt.Sprint(b.told()), "release"); n != 4 {
			return fmt.Sprintf("told %v, want 4 released", b.told())
		}
		return ""
	})
	time.Sleep(3 * every)
	close(gate)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
}

func TestTheHolderFindsOutFirst(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a := r.add("a", 2)
	wantShares(t, 5*time.Second, 2, []*worker{a}, 2)
	if owns, err := a.Owns(t.Context(), 1); err != nil || !owns {
		t.Errorf("owns lane 1: %v, %v", owns, err)
	}
	// Its fence refused a write, although the lane is still its own: it begins anew.
	a.forget(1)
	a.Keeper.Lost(1)
	eventually(t, 5*time.Second, func() string {
		if got, want := a.told(), []string{"acquire 0", "acquire 1", "acquire 1"}; !slices.Equal(got, want) {
			return fmt.Sprintf("told %v, want %v", got, want)
		}
		return ""
	})
}

func TestAnotherNumberOfLanes(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a := r.add("a", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a}, 8)
	b := r.add("b", 1)
	wantProblem(t, b, "worker a works on 8 lanes, this one is made for 1")
	if got := b.held(); len(got) != 0 {
		t.Errorf("holds %v", got)
	}
	a.stop()
	wantShares(t, 5*time.Second, 1, []*worker{b}, 1)
	wantProblem(t, b, "")
}

func TestFewRightsAreEnough(t *testing.T) {
	r := newRig(t, users(&server.SubjectPermission{Allow: []string{"$KV." + bucket + "." + key, "$JS.API.STREAM.MSG.GET.KV_" + bucket, "wake.test"}}))
	r.bucket()
	a, b := r.add("a", 8, patient), r.add("b", 8, patient)
	wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	for _, w := range []*worker{a, b} {
		if err := w.conn.LastError(); err != nil {
			t.Error(err)
		}
	}
}

func TestMissingRightIsNamed(t *testing.T) {
	r := newRig(t, users(&server.SubjectPermission{Allow: []string{"$JS.API.STREAM.MSG.GET.KV_" + bucket}}))
	r.bucket()
	wantProblem(t, r.add("a", 8), "no answer on $KV."+bucket+"."+key)
}

func TestLeaveThatCannot(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a := r.add("a", 1)
	wantShares(t, 5*time.Second, 1, []*worker{a}, 1)
	if err := a.Leave(t.Context()); !errors.Is(err, lease.ErrRunning) {
		t.Errorf("leave while it runs: %v", err)
	}
	if err := a.Run(t.Context(), a); !errors.Is(err, lease.ErrRunning) {
		t.Errorf("run while it runs: %v", err)
	}
	a.stop()
	r.stop()
	if err := a.Leave(within(t, 200*time.Millisecond)); err == nil {
		t.Error("left while the server was away")
	}
}

func TestSnapshot(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a := r.add("a", 4)
	wantShares(t, 5*time.Second, 4, []*worker{a}, 4)
	gate := a.drainWhen()
	defer close(gate)
	r.add("b", 4)
	eventually(t, 5*time.Second, func() string {
		s := a.Snapshot()
		got := fmt.Sprint(s.Worker, s.Held, len(s.Lanes), s.Workers["a"].Lanes, s.Workers["a"].Giving, s.Workers["a"].Share, s.Workers["b"].Share)
		want := "a[0 1 2 3] 4 [0 1 2 3] [2 3] 2 2"
		if got != want {
			return fmt.Sprintf("got %s, want %s", got, want)
		}
		if s.Problem != "" || s.Revision == 0 || s.Age <= 0 || s.Age > expire || s.Workers["b"].Silent > expire {
			return fmt.Sprintf("got %+v", s)
		}
		return ""
	})
}

// What doc.go says of the cost.
func TestCost(t *testing.T) {
	r := newRig(t)
	r.bucket()
	all := []*worker{r.add("a", 8), r.add("b", 8), r.add("c", 8)}
	wantShares(t, 5*time.Second, 8, all, 3, 3, 2)
	time.Sleep(2 * every)
	const beats = 20
	before := sent(all)
	time.Sleep(beats * every)
	got := float64(sent(all)-before) / beats / float64(len(all))
	t.Logf("%.2f requests for each worker and beat", got)
	if got > 3 {
		t.Errorf("%.2f requests for each worker and beat, want about 2", got)
	}
}

func sent(workers []*worker) (n uint64) {
	for _, w := range workers {
		n += w.conn.Stats().OutMsgs
	}
	return n
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t)
	good := lease.Options{Conn: r.nc, Bucket: bucket, Key: key, Worker: "a", Lanes: 1}
	if _, err := lease.New(good); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*lease.Options){
		"connection":         func(o *lease.Options) { o.Conn = nil },
		`bucket "a.b"`:       func(o *lease.Options) { o.Bucket = "a.b" },
		`key "a.>"`:          func(o *lease.Options) { o.Key = "a.>" },
		"needs an id":        func(o *lease.Options) { o.Worker = "" },
		"0 lanes":            func(o *lease.Options) { o.Lanes = 0 },
		"at least 3 times":   func(o *lease.Options) { o.Every, o.Expire = time.Second, 2*time.Second },
		"every -1s":          func(o *lease.Options) { o.Every = -time.Second },
		"expire after 100ms": func(o *lease.Options) { o.Expire = 100 * time.Millisecond },
	} {
		o := good
		change(&o)
		if _, err := lease.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func wantNoMoves(t *testing.T, workers []*worker, wait time.Duration) {
	t.Helper()
	before := told(workers)
	time.Sleep(wait)
	if after := told(workers); after != before {
		t.Errorf("lanes moved while nothing changed:\n%s\n%s", before, after)
	}
}

func told(workers []*worker) string {
	var s []string
	for _, w := range workers {
		s = append(s, fmt.Sprint(w.id, w.told()))
	}
	return strings.Join(s, " ")
}

func wantProblem(t *testing.T, w *worker, want string) {
	t.Helper()
	eventually(t, 10*time.Second, func() string {
		if got := w.Problem(); !strings.Contains(got, want) || (want == "") != (got == "") {
			return fmt.Sprintf("problem %q, want %q", got, want)
		}
		return ""
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
