package target_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/target"
	"millrace.dev/millrace/workers/stage"
)

// memory is a sink whose target is memory. next says what befalls a call of Store, asked what befalls one of Place.
type memory struct {
	stage.Stage
	place string
	rows  []any
	next  func() (before, after error)
	asked func() error
	tried func(rows []any, to string) // is told of each call of Store; nil = nobody is
}

func (m *memory) Place(context.Context, string) (string, error) {
	if m.asked == nil {
		return m.place, nil
	}
	return m.place, m.asked()
}

func (m *memory) Store(ctx context.Context, _ string, rows []any, from, to string) error {
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("no deadline")
	}
	if m.tried != nil {
		m.tried(rows, to)
	}
	var before, after error
	if m.next != nil {
		before, after = m.next()
	}
	switch {
	case before != nil:
		return before
	case m.place != from:
		return fmt.Errorf("it stands at %q, not at %q", m.place, from)
	}
	m.place = to
	m.rows = append(m.rows, rows...)
	return after
}

type counter struct{ atomic.Int64 }

func (c *counter) Inc() { c.Add(1) }

type rig struct {
	retried, late counter
	owns          bool
}

func (r *rig) log(owner string) *target.Log {
	return target.New(&target.Options{
		Lane: "team/orders/db", Owner: owner, Log: slog.New(slog.DiscardHandler), Jitter: func() float64 { return 0.5 }, Timeout: time.Minute,
		Owns:    func(context.Context) (bool, error) { return r.owns, nil },
		Retried: &r.retried, ConfirmedLate: &r.late,
	})
}

func places() []progress.Place {
	return []progress.Place{{From: "validate/out", Stream: "x1"}, {From: "enrich/out", Stream: "x2"}}
}

func reach(first, second uint64) []progress.Position {
	return []progress.Position{{Seq: first, Index: 9}, {Seq: second, Index: 9}}
}

func open(t *testing.T, l *target.Log, m *memory) []progress.Position {
	t.Helper()
	at, err := l.Open(t.Context(), m, places())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestPlaceIsFoundAgain: the next worker goes on where the one before stood, in each input by its name and stream.
func TestPlaceIsFoundAgain(t *testing.T) {
	r, m := &rig{}, &memory{}
	l := r.log("a/1")
	if at := open(t, l, m); !slices.Equal(at, make([]progress.Position, 2)) {
		t.Errorf("a new lane stands at %v", at)
	}
	for n := range uint64(3) {
		if err := l.Store(t.Context(), m, []any{n}, reach(n+1, 7)); err != nil {
			t.Fatal(err)
		}
	}
	for _, owner := range []string{"b/1", "b/2"} {
		if at := open(t, r.log(owner), m); !slices.Equal(at, reach(3, 7)) {
			t.Errorf("%s finds the lane at %v", owner, at)
		}
	}
	other := places()
	other[0].Stream = "made anew"
	if at, err := r.log("c/1").Open(t.Context(), m, other); err != nil || !slices.Equal(at, []progress.Position{{}, reach(3, 7)[1]}) {
		t.Errorf("with another stream the lane stands at %v, error %v", at, err)
	}
	if len(m.rows) != 3 {
		t.Errorf("rows: %v", m.rows)
	}
}

// TestWorkerBeforeIsFencedOff: from Open on, whoever had the lane stores nothing.
func TestWorkerBeforeIsFencedOff(t *testing.T) {
	for want, owns := range map[error]bool{progress.ErrLost: false, progress.ErrDoubt: true} {
		synctest.Test(t, func(t *testing.T) {
			r, m := &rig{owns: owns}, &memory{}
			before, after := r.log("a/1"), r.log("b/1")
			open(t, before, m)
			open(t, after, m)
			if err := before.Store(t.Context(), m, []any{"late"}, reach(1, 1)); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if err := after.Store(t.Context(), m, []any{"new"}, reach(1, 1)); err != nil {
				t.Error(err)
			}
			if !slices.Equal(m.rows, []any{"new"}) {
				t.Errorf("rows: %v", m.rows)
			}
		})
	}
}

// TestStoreTriesForEver: calls fail before and after they took effect, and the place cannot be asked for. Each row is there once.
func TestStoreTriesForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &rig{owns: true}, &memory{}
		l := r.log("a/1")
		open(t, l, m)
		away := errors.New("connection refused")
		lot := rand.New(rand.NewPCG(1, 2))
		var seen string
		m.next = func() (before, after error) {
			switch lot.IntN(3) {
			case 0:
				return away, nil
			case 1:
				return nil, away
			}
			return nil, nil
		}
		m.asked = func() error {
			seen = l.Problem()
			if lot.IntN(2) == 0 {
				return away
			}
			return nil
		}
		for n := range uint64(50) {
			if err := l.Store(t.Context(), m, []any{n}, reach(n+1, 1)); err != nil {
				t.Fatal(err)
			}
			if l.Problem() != "" {
				t.Fatalf("stored, and still: %s", l.Problem())
			}
		}
		if !strings.Contains(seen, "connection refused") {
			t.Errorf("while it waits the problem is %q", seen)
		}
		for n, row := range m.rows {
			if row != uint64(n) {
				t.Fatalf("row %d is %v", n, row)
			}
		}
		if len(m.rows) != 50 || r.late.Load() == 0 || r.retried.Load() == 0 {
			t.Errorf("%d rows, %d calls repeated, %d confirmed late", len(m.rows), r.retried.Load(), r.late.Load())
		}
	})
}

// TestRefusal: it comes back as it is, and takes no effect. One that names no row, or one that there is not, is a failure like another.
func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &rig{owns: true}, &memory{}
		l := r.log("a/1")
		open(t, l, m)
		refusals := []*stage.Refused{
			{}, {Rows: []stage.RefusedRow{{Row: 2}}}, {Rows: []stage.RefusedRow{{Row: 0}, {Row: 0}}}, {Rows: []stage.RefusedRow{{Row: 1, Err: errors.New("too long")}}},
		}
		m.next = func() (before, after error) {
			if len(refusals) == 0 {
				return nil, nil
			}
			before, refusals = fmt.Errorf("insert: %w", refusals[0]), refusals[1:]
			return before, nil
		}
		err := l.Store(t.Context(), m, []any{"a", "b"}, reach(1, 1))
		refused := (*stage.Refused)(nil)
		if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != 1 || len(m.rows) != 0 {
			t.Fatalf("got %v, rows %v", err, m.rows)
		}
		if err := l.Store(t.Context(), m, []any{"a"}, reach(1, 1)); err != nil || !slices.Equal(m.rows, []any{"a"}) {
			t.Errorf("got %v, rows %v", err, m.rows)
		}
	})
}

// TestRefusalOfWhatIsStored: a target that meets the keys of rows which are stored refuses them before it looks at the place. These rows are
// not blamed: they were stored by an attempt without an answer, or by another worker.
func TestRefusalOfWhatIsStored(t *testing.T) {
	duplicate := &stage.Refused{Rows: []stage.RefusedRow{{Row: 0, Err: errors.New("duplicate key")}}}
	for name, c := range map[string]struct {
		owns bool
		want error
	}{"by another worker": {false, progress.ErrLost}, "by itself": {true, nil}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, m := &rig{owns: c.owns}, &memory{}
				l := r.log("a/1")
				open(t, l, m)
				calls := 0
				late := func() {}
				m.next = func() (before, after error) {
					if calls++; calls == 1 {
						return context.DeadlineExceeded, nil // it is at it still
					}
					late()
					return duplicate, nil
				}
				if c.owns {
					m.tried = func(rows []any, to string) {
						late = func() { m.place, m.rows = to, rows }
					}
				} else {
					late = func() { m.place = "somebody else's" }
				}
				if err := l.Store(t.Context(), m, []any{"x"}, reach(1, 1)); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

// TestSinkThatPanics: it is tried again.
func TestSinkThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &rig{owns: true}, &memory{}
		l := r.log("a/1")
		open(t, l, m)
		calls := 0
		m.next = func() (before, after error) {
			if calls++; calls == 1 {
				panic("boom")
			}
			return nil, nil
		}
		if err := l.Store(t.Context(), m, []any{"a"}, reach(1, 1)); err != nil || len(m.rows) != 1 {
			t.Errorf("got %v, rows %v", err, m.rows)
		}
	})
}

// TestStoreEndsWithItsContext: a lane that is given back does not wait for the target.
func TestStoreEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &rig{owns: true}, &memory{}
		l := r.log("a/1")
		open(t, l, m)
		m.next = func() (before, after error) { return errors.New("away"), nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := l.Store(ctx, m, []any{"a"}, reach(1, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
