package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// Defaults and limits of Options.
const (
	DefaultEvery  = 1500 * time.Millisecond
	DefaultExpire = 6 * time.Second

	// quick is how often a worker looks that has less than its share, or half of Every when
	// that is less.
	quick = 250 * time.Millisecond
	// spread is within what time the workers look after a hint, so that they do not all
	// write at once.
	spread = 50 * time.Millisecond
)

// Options of a Keeper. Zero values of what has a default mean the default.
type Options struct {
	// Conn to NATS. It should reconnect for ever; the keeper does not close it.
	Conn *nats.Conn
	// Domain is where the JetStream of the bucket is.
	Domain config.Domain
	// Bucket is the name of the KV bucket, Key that of the stage's table in it. The
	// operator makes the bucket.
	Bucket, Key string
	// Wake is a subject on which workers of the stage tell each other that there is
	// something to take or to give, so that nobody has to wait for the next beat. Empty =
	// they do not; everything works then, later by up to 1.25 times Every.
	Wake string
	// Worker is the id of this process. No two processes have the same, ever: the name of
	// the pod and something random.
	Worker string
	// Lanes is how many the stage has, at least 1.
	Lanes int
	// Duplicates are the events that this process has dropped as duplicates, by stage, since it started. They go into
	// the table with each beat. Default: none.
	Duplicates func() map[string]uint64
	// Open is a circuit breaker of this process that is not closed, or nil. It goes into the table with each beat. Default: none.
	Open func() *config.OpenBreaker
	// Every is how often a worker beats, plus or minus a quarter. Default: 1.5 s.
	Every time.Duration
	// Expire is after what time without a beat a worker is dead, at least 3 times Every.
	// Default: 6 s.
	Expire time.Duration
	// Log gets changes, not beats. Default: nothing is logged.
	Log *slog.Logger
	// Now is the clock. It must be monotonic, as time.Now is, the default.
	Now func() time.Time
	// Jitter is a random number in [0, 1). Default: math/rand.
	Jitter func() float64
}

// Lanes is who works on lanes. The keeper calls it from Run, one call at a time; each call
// returns at once.
//
// For every Acquire the holder says exactly once that it is done: with Keeper.Released, or
// with Keeper.Lost. Until then the lane is not acquired again by this worker.
type Lanes interface {
	// Acquire: the lane is ours now. Begin.
	Acquire(lane int)
	// Release: another worker is to have the lane. Finish what is begun, publish it, take
	// up nothing new, then call Keeper.Released. The lane stays ours until then.
	Release(lane int)
	// Lost: the lane is not ours any more, since we did not beat in time. It may have
	// another owner already, so stop without publishing, then call Keeper.Released. It can
	// follow Release.
	Lost(lane int)
}

// ErrRunning is returned by Run and Leave while Run runs.
var ErrRunning = errors.New("the keeper runs")

// Keeper keeps the leases of one worker.
type Keeper struct {
	o     Options
	store store
	// poked is filled when something changed here, hinted when another worker says so.
	poked, hinted chan struct{}

	mu       sync.Mutex
	running  bool
	leaving  bool
	watch    watch
	phases   []phase
	problem  string
	table    Table // as last seen
	revision uint64
	looked   time.Time // when the table was asked for that was seen last

	// Of Run alone:
	beatAt              time.Time         // the next beat
	counted             map[string]uint64 // duplicates that are in the table
	failures, conflicts int               // in a row
}

// New checks the options. It does not talk to NATS.
func New(o Options) (*Keeper, error) {
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Expire == 0 {
		o.Expire = max(DefaultExpire, 4*o.Every)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	return &Keeper{
		o: o, store: newStore(&o),
		poked: make(chan struct{}, 1), hinted: make(chan struct{}, 1),
		watch: watch{expire: o.Expire}, phases: make([]phase, o.Lanes),
	}, nil
}

func (o Options) check() error {
	switch {
	case o.Conn == nil:
		return errors.New("a connection is needed")
	case !regexp.MustCompile(`^[a-zA-Z0-9_-]+$`).MatchString(o.Bucket):
		return fmt.Errorf("bucket %q: letters, digits, - and _ alone", o.Bucket)
	case !regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`).MatchString(o.Key):
		return fmt.Errorf("key %q: words of letters, digits and -/_= with dots between them", o.Key)
	case o.Worker == "":
		return errors.New("a worker needs an id")
	case o.Lanes < 1:
		return fmt.Errorf("%d lanes, want at least 1", o.Lanes)
	case o.Every < 0 || o.Expire < 3*o.Every:
		return fmt.Errorf("expire after %s, want at least 3 times every %s", o.Expire, o.Every)
	}
	return nil
}

// Run takes part until ctx ends; then it returns nil, and l is not called any more. What
// is held stays held: the caller drains it and calls Leave. From the last beat on it has
// Expire to do so; Retire beforehand takes the time that it takes.
//
// While NATS is away the worker holds what it has. When NATS is back and the worker was
// taken for dead meanwhile, it loses its lanes and joins again.
func (k *Keeper) Run(ctx context.Context, l Lanes) error {
	if !k.start() {
		return ErrRunning
	}
	defer k.end()
	listening, err := k.listen()
	if err != nil {
		return fmt.Errorf("leases: listen on %s: %w", k.o.Wake, err)
	}
	defer listening()
	for ctx.Err() == nil {
		k.sleep(ctx, k.round(ctx, l))
	}
	return nil
}

func (k *Keeper) start() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running {
		return false
	}
	k.running = true
	k.watch = watch{expire: k.o.Expire}
	k.beatAt = time.Time{}
	return true
}

func (k *Keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running = false
}

// round looks once and writes when there is something to write. It returns how long to wait
// for the next one.
func (k *Keeper) round(ctx context.Context, l Lanes) time.Duration {
	if !k.o.Conn.IsConnected() {
		k.skip()
		k.say("not connected to NATS")
		return k.jittered(k.quick())
	}
	asked := k.o.Now()
	t, revision, err := k.store.read(ctx)
	if err != nil {
		return k.failed(ctx, err)
	}
	dead := k.saw(t, asked)
	t, err = k.fit(t, dead)
	k.settle(t, revision, l)
	k.mu.Lock()
	k.looked = asked
	k.mu.Unlock()
	if err != nil {
		k.say(err.Error())
		return k.jittered(k.o.Every)
	}
	next, changed := t.Next(k.o.Worker, dead, k.hand())
	if !changed && asked.Before(k.beatAt) {
		k.well()
		return k.wait(t)
	}
	next.beat(k.o.Worker)
	mine := k.count(&next)
	revision, err = k.store.write(ctx, next, revision)
	if errors.Is(err, errConflict) {
		return k.again()
	}
	if err != nil {
		return k.failed(ctx, err)
	}
	k.well()
	k.counted = mine
	k.beatAt = k.o.Now().Add(k.jittered(k.o.Every))
	k.settle(next, revision, l)
	if changed {
		k.tell(t, next)
	}
	return k.wait(next)
}

// saw notes when the table was seen, and returns who is dead.
func (k *Keeper) saw(t Table, asked time.Time) map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watch.look(t, asked, k.o.Now())
}

// fit makes the first table, and a new one when the stage has another number of lanes than
// before. While workers with the other number live, those with the new one wait.
func (k *Keeper) fit(t Table, dead map[string]bool) (Table, error) {
	if len(t.Lanes) == k.o.Lanes {
		return t, nil
	}
	for id := range t.Workers {
		if id != k.o.Worker && !dead[id] {
			return t, fmt.Errorf("worker %s works on %d lanes, this one is made for %d: waiting until that one is gone",
				id, len(t.Lanes), k.o.Lanes)
		}
	}
	return Table{Lanes: make([]string, k.o.Lanes), Counts: t.Counts}, nil
}

// wait is how long nothing needs to be done when the table is t.
func (k *Keeper) wait(t Table) time.Duration {
	now := k.o.Now()
	k.mu.Lock()
	wait := min(k.beatAt.Sub(now), k.watch.next(t, k.o.Worker, now))
	k.mu.Unlock()
	if t.wants(k.o.Worker) {
		wait = min(wait, k.jittered(k.quick()))
	}
	return wait
}

// again is the wait after another worker wrote first: longer the more often that happens, but
// so short that this worker gets its turn long before it would be taken for dead.
func (k *Keeper) again() time.Duration {
	k.conflicts = min(k.conflicts+1, 8)
	return time.Duration(k.o.Jitter() * float64(min(2*time.Millisecond<<k.conflicts, k.o.Every/8)))
}

func (k *Keeper) quick() time.Duration { return min(quick, k.o.Every/2) }

func (k *Keeper) failed(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	k.skip()
	k.say(err.Error())
	k.failures++
	return k.jittered(min(k.quick()<<min(k.failures-1, 8), k.o.Every))
}

func (k *Keeper) skip() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watch.skip()
}

func (k *Keeper) well() {
	k.failures, k.conflicts = 0, 0
	k.say("")
}

// jittered is d plus or minus a quarter.
func (k *Keeper) jittered(d time.Duration) time.Duration {
	return time.Duration((0.75 + k.o.Jitter()/2) * float64(d))
}

func (k *Keeper) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-k.poked:
	case <-k.hinted:
		k.pause(ctx, time.Duration(k.o.Jitter()*float64(spread)))
	}
}

func (k *Keeper) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (k *Keeper) poke() { fill(k.poked) }

func fill(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// say sets the problem, and logs it when it is another one.
func (k *Keeper) say(problem string) {
	k.mu.Lock()
	before := k.problem
	k.problem = problem
	k.mu.Unlock()
	switch {
	case problem == before:
	case problem == "":
		k.o.Log.Info("leases are well again", "key", k.o.Key, "before", before)
	default:
		k.o.Log.Warn("leases are not kept", "key", k.o.Key, "problem", problem)
	}
}

// Problem says why leases are not kept at the moment; empty = they are.
func (k *Keeper) Problem() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.problem
}
