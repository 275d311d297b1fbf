package overflow

import (
	"testing"
	"time"
)

// clock is one that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

func started(t *testing.T) (*Backlog, *clock) {
	t.Helper()
	c := &clock{time.Unix(1000, 0)}
	b := New(c.now)
	b.Restarted(0)
	b.Begin(0)
	if !b.Clear() || b.Behind(1) {
		t.Fatal("something is there at the beginning")
	}
	return b, c
}

// sends has a step send events of keys, and be stored up to reaches.
func sends(b *Backlog, reaches uint64, keys ...uint32) {
	step := b.Next()
	for _, k := range keys {
		b.Add(k, step)
	}
	b.Stored(step, reaches)
}

func wantBehind(t *testing.T, b *Backlog, want map[uint32]bool) {
	t.Helper()
	for k, behind := range want {
		if got := b.Behind(k); got != behind {
			t.Errorf("key %d is behind: %t, want %t", k, got, behind)
		}
	}
}

// TestKeys are behind from when the first event is sent until the last one is replayed.
func TestKeys(t *testing.T) {
	b, _ := started(t)
	step := b.Next()
	b.Add(1, step)
	wantBehind(t, b, map[uint32]bool{1: true, 2: false})
	b.Replayed(100)
	wantBehind(t, b, map[uint32]bool{1: true}) // it is not stored yet, so that was another
	b.Stored(step, 110)
	sends(b, 120, 1, 2)
	sends(b, 130, 3)
	b.Replayed(110)
	wantBehind(t, b, map[uint32]bool{1: true, 2: true, 3: true, 4: false})
	b.Replayed(120)
	wantBehind(t, b, map[uint32]bool{1: false, 2: false, 3: true})
	b.Replayed(130)
	if wantBehind(t, b, map[uint32]bool{3: false}); !b.Clear() {
		t.Error("something is there when all is replayed")
	}
}

// TestTakeover: all keys are behind until what was there is replayed; those that follow meanwhile are behind after that, too.
func TestTakeover(t *testing.T) {
	b, _ := started(t)
	sends(b, 10, 1)
	b.Begin(20)
	wantBehind(t, b, map[uint32]bool{1: true, 2: true})
	sends(b, 30, 2)
	b.Restarted(5)
	b.Replayed(20)
	wantBehind(t, b, map[uint32]bool{1: false, 2: true})
	b.Restarted(30)
	if wantBehind(t, b, map[uint32]bool{2: false}); !b.Clear() {
		t.Error("something is there when all is replayed")
	}
	if b.Begin(30); !b.Clear() {
		t.Error("a session that begins does not know what is replayed")
	}
}

// TestTooManyKeys: all are behind then.
func TestTooManyKeys(t *testing.T) {
	b, _ := started(t)
	keys := make([]uint32, maxKeys)
	for i := range keys {
		keys[i] = uint32(i)
	}
	sends(b, 10, keys...)
	wantBehind(t, b, map[uint32]bool{0: true, maxKeys: false})
	sends(b, 20, maxKeys)
	wantBehind(t, b, map[uint32]bool{0: true, maxKeys: true, maxKeys + 1: true})
	b.Replayed(10)
	wantBehind(t, b, map[uint32]bool{0: true, maxKeys + 1: true})
	sends(b, 30, 7)
	b.Replayed(20)
	wantBehind(t, b, map[uint32]bool{0: false, 7: true, maxKeys: false, maxKeys + 1: false})
	// Room that keys have left which are replayed is used again.
	sends(b, 40, keys...)
	b.Replayed(40)
	sends(b, 50, 1)
	if sends(b, 60, keys[:maxKeys/2]...); b.Behind(maxKeys - 1) {
		t.Error("a key is behind of which nothing is there")
	}
}

// TestGone: what has gone by age is never replayed.
func TestGone(t *testing.T) {
	b, c := started(t)
	sends(b, 10, 1)
	c.pass(time.Minute)
	at := c.at
	c.pass(time.Second)
	sends(b, 20, 2)
	b.Empty(at)
	wantBehind(t, b, map[uint32]bool{1: false, 2: true})
}

// TestPatience: a lane waits when the replay is near, and when it comes no nearer; not while it holds, nor while it comes nearer.
func TestPatience(t *testing.T) {
	b, c := started(t)
	reaches := uint64(0)
	// away has the oldest event wait for so long.
	away := func(d time.Duration) {
		b.Replayed(reaches)
		reaches += 10
		sends(b, reaches, 1)
		c.pass(d)
	}
	want := func(what string, want time.Duration) {
		t.Helper()
		if got := b.Patience(); got != want {
			t.Errorf("%s: it waits for %s, want %s", what, got, want)
		}
	}
	away(20 * time.Millisecond)
	want("near", nearWait)
	b.Held(true)
	want("near, and held", 0)
	b.Held(false)
	away(300 * time.Millisecond)
	want("far away", 0)
	for range 4 { // in which it comes no nearer
		away(300 * time.Millisecond)
		b.Patience()
	}
	want("in the second period", 0)
	for range 4 {
		away(300 * time.Millisecond)
		b.Patience()
	}
	want("as far away as before", 700*time.Millisecond)
	b.InVain()
	want("in vain", 0)
	c.pass(betweenWait)
	away(300 * time.Millisecond)
	want("some time later", 700*time.Millisecond)
	for d := 3 * time.Second; d > time.Second; d -= 200 * time.Millisecond {
		away(d)
		b.Patience()
	}
	want("nearer and nearer", 0)
	for range 3 {
		away(5 * time.Second)
		b.Patience()
	}
	want("too far away", 0)
}
