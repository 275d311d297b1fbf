package novelty

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/test/eval/families"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage/state"
)

// all is what a series has.
type all struct {
	Detector
	Alarm
	Flat
	Rhythm
}

func (a *all) state(c *state.Codec) {
	a.Detector.State(c)
	a.Alarm.State(c)
	a.Flat.State(c)
	a.Rhythm.State(c)
}

var format = state.Format{Version: StateVersion}

func (a *all) snapshot(t testing.TB) []byte {
	t.Helper()
	b, err := state.Write(nil, format, a.state)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGoesOnFromASnapshot: at each place of a series, what was restored says the same of all that follows, and makes the same snapshot.
func TestGoesOnFromASnapshot(t *testing.T) {
	for _, f := range families.All() {
		values := f.Values(5, 3000)
		var one, other all
		var c Clock
		largest := 0
		for i, x := range values {
			at := int64(i+1) * int64(time.Minute)
			if i%97 == 0 {
				b := one.snapshot(t)
				largest = max(largest, len(b))
				other = all{}
				if err := state.Read(b, format, other.state); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b, other.snapshot(t)) {
					t.Fatalf("%s, value %d: a snapshot of what was restored differs", f.Name, i)
				}
			}
			c.Add(at)
			one.Rhythm.Add(at, &c)
			other.Rhythm.Add(at, &c)
			if a, b := one.Detector.Add(x), other.Detector.Add(x); a != b {
				t.Fatalf("%s, value %d: %+v after a restore, want %+v", f.Name, i, b, a)
			}
			if one.Flat.Add(x) != other.Flat.Add(x) {
				t.Fatalf("%s, value %d: another run after a restore", f.Name, i)
			}
		}
		if one != other {
			t.Errorf("%s: another state after a restore", f.Name)
		}
		if largest > 1400 {
			t.Errorf("%s: a snapshot has %d bytes", f.Name, largest)
		}
	}
}

func TestNothingIsForgotten(t *testing.T) {
	f := stagetest.NewFields(t)
	stagetest.Kept(f, func() *Detector { return new(Detector) }, func(c *state.Codec, d *Detector) { d.State(c) })
	stagetest.Kept(f, func() *scale { return new(scale) }, func(c *state.Codec, s *scale) { s.state(c) })
	stagetest.Kept(f, func() *span { return new(span) }, func(c *state.Codec, s *span) { c.Float32(&s.low); c.Float32(&s.high) })
	stagetest.Kept(f, func() *Alarm { return new(Alarm) }, func(c *state.Codec, a *Alarm) { a.State(c) })
	stagetest.Kept(f, func() *Flat { return new(Flat) }, func(c *state.Codec, v *Flat) { v.State(c) })
	stagetest.Kept(f, func() *Rhythm { return new(Rhythm) }, func(c *state.Codec, r *Rhythm) { r.State(c) })
	stagetest.Kept(f, func() *Clock { return new(Clock) }, func(c *state.Codec, v *Clock) { v.State(c) })
	f.Reach(reflect.TypeFor[Detector]())
}

// TestSnapshotsThatCannotBe are refused: a grid of no width has no cells.
func TestSnapshotsThatCannotBe(t *testing.T) {
	for name, spoil := range map[string]func(*all){
		"no width": func(a *all) { a.fine.width = 0 },
		"no place": func(a *all) { a.fine.lo = math.NaN() },
		"no end":   func(a *all) { a.coarse.width = math.Inf(1) },
		"class":    func(a *all) { a.class = classes },
	} {
		var a all
		for i := range 1000 {
			a.Detector.Add(float64(i % 13))
		}
		spoil(&a)
		if err := state.Read(a.snapshot(t), format, new(all).state); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// head is what stands before the state in a snapshot.
const head = 18

// FuzzState: what is restored from anything goes on without a panic.
func FuzzState(f *testing.F) {
	var a all
	for i := range 3000 {
		a.Detector.Add(float64(i % 13))
	}
	whole := a.snapshot(f)
	f.Add(whole[head:len(whole)-8], 5.0)
	f.Fuzz(func(t *testing.T, body []byte, x float64) {
		if !(math.Abs(x) < 1e37) {
			return
		}
		b := append(bytes.Clone(whole[:head]), body...)
		var restored all
		if state.Read(binary.BigEndian.AppendUint64(b, xxh3.Hash(b)), format, restored.state) != nil {
			return
		}
		for i := range 50 {
			restored.Detector.Add(x * float64(i))
			restored.Flat.Add(x)
		}
	})
}
