package overflow

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// maxKeys is how many keys of a lane are told apart.
const maxKeys = 100_000

// Backlog is what of one lane is in the overflow. The lane and its replay use it at once.
type Backlog struct {
	now func() time.Time
	// clear says that nothing is there: nearly always.
	clear atomic.Bool

	mu sync.Mutex
	// keys, by their hash, have the last step that sent an event of them there; those that are replayed may be among them.
	keys map[uint32]uint64
	// all is a step up to which every key counts as there.
	all uint64
	// step is the last one that sent something, replayed one up to which all is replayed.
	step, replayed uint64
	// sent are the steps that are stored and not replayed, in their order.
	sent []sent
	// reached is up to where in the stream all is replayed.
	reached uint64

	held      bool // the replay waits
	approach  approach
	notBefore time.Time // of the next wait
}

// sent is a step that is stored.
type sent struct {
	step, reaches uint64
	at            time.Time
}

// New makes a backlog of which nothing is known: see Begin.
func New(now func() time.Time) *Backlog {
	b := &Backlog{now: now, keys: map[uint32]uint64{}}
	b.clear.Store(true)
	return b
}

// Begin begins a session of the lane. last is the stream sequence of the last message there, 0 = there is none: until it is replayed, every
// key counts as there.
func (b *Backlog) Begin(last uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.keys)
	b.sent = b.sent[:0]
	b.step++
	b.all, b.replayed = b.step, b.step-1
	b.sent = append(b.sent, sent{b.step, last, b.now()})
	b.advance()
}

// Next numbers a step that sends something there, when it sends the first of it.
func (b *Backlog) Next() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.step++
	b.clear.Store(false)
	return b.step
}

// Add notes that a step sends an event of a key there.
func (b *Backlog) Add(key uint32, step uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.keys[key]; !known && len(b.keys) >= maxKeys {
		b.forget(step)
	}
	b.keys[key] = step
}

// forget makes room for keys: those that are replayed go, or, if these are few, all of them, which count as there until step is replayed.
func (b *Backlog) forget(step uint64) {
	maps.DeleteFunc(b.keys, func(_ uint32, step uint64) bool { return step <= b.replayed })
	if len(b.keys) > maxKeys*3/4 {
		clear(b.keys)
		b.all = step
	}
}

// Behind says whether events of a key are to follow others there.
func (b *Backlog) Behind(key uint32) bool {
	if b.clear.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all > b.replayed || b.keys[key] > b.replayed
}

// Stored notes that a step is stored, up to a stream sequence.
func (b *Backlog) Stored(step, reaches uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, sent{step, reaches, b.now()})
	b.advance()
}

// Restarted notes that a session of the replay begins, and that all up to a stream sequence was replayed before.
func (b *Backlog) Restarted(reached uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reached, b.held = reached, false
	b.advance()
}

// Replayed notes that all up to a stream sequence is replayed: what it led to is stored.
func (b *Backlog) Replayed(reached uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reached = max(b.reached, reached)
	b.advance()
}

// Empty notes that nothing is left of what was stored before then: it was replayed, or it has gone, by age or by a person.
func (b *Backlog) Empty(before time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sent {
		if s.at.Before(before) {
			b.reached = max(b.reached, s.reaches)
		}
	}
	b.advance()
}

// Held says whether the replay waits for what the stage asks.
func (b *Backlog) Held(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = yes
}

// advance takes out the steps that are replayed.
func (b *Backlog) advance() {
	n := 0
	for n < len(b.sent) && b.sent[n].reaches <= b.reached {
		b.replayed = b.sent[n].step
		n++
	}
	b.sent = append(b.sent[:0], b.sent[n:]...)
	if b.replayed == b.step {
		clear(b.keys)
	}
	b.clear.Store(b.replayed == b.step)
}

// Clear says that nothing is there.
func (b *Backlog) Clear() bool { return b.clear.Load() }

// When a lane waits for the replay, and for how long: when that is near, or comes no nearer, as behind a slow service where each event takes its time.
const (
	near        = 25 * time.Millisecond
	nearWait    = 100 * time.Millisecond
	farthest    = 3 * time.Second
	period      = time.Second
	comesNearer = 50 * time.Millisecond // in a period
	betweenWait = 2 * time.Second
)

// Patience is how long the lane is to wait until all is replayed; 0 = it goes on.
func (b *Backlog) Patience() time.Duration {
	if b.clear.Load() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held {
		b.approach = approach{}
		return 0
	}
	now, away := b.now(), time.Duration(0)
	if len(b.sent) > 0 {
		away = now.Sub(b.sent[0].at)
	}
	b.approach.note(now, away)
	switch {
	case now.Before(b.notBefore):
		return 0
	case away <= near:
		return nearWait
	case b.approach.stands && away <= farthest:
		return 2*away + nearWait
	}
	return 0
}

// approach says whether a replay comes nearer.
type approach struct {
	began         time.Time     // of the period
	nearest, last time.Duration // in the period, and in the one before
	periods       int
	stands        bool
}

// note notes how far away the replay is: the age of the oldest event that waits for it.
func (a *approach) note(now time.Time, away time.Duration) {
	if a.began.IsZero() || away < a.nearest {
		a.nearest = away
	}
	if a.began.IsZero() {
		a.began = now
	}
	if now.Sub(a.began) < period {
		return
	}
	a.stands = a.periods > 0 && a.last-a.nearest < comesNearer
	a.periods++
	a.began, a.last, a.nearest = now, a.nearest, away
}

// InVain notes that the lane has waited and something is still there.
func (b *Backlog) InVain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notBefore = b.now().Add(betweenWait)
}
