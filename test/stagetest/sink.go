package stagetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"millrace.dev/millrace/workers/stage"
)

// Target is what a sink is tested with: a real one.
type Target struct {
	// Sink has started. Every call returns one that a worker of its own would have, on the same target.
	Sink func() stage.Sink
	// Row is what Process would keep of event i.
	Row func(i int) any
	// Bad is a row that the target refuses; nil = it takes all.
	Bad any
	// Rows are the events that the target has now, by the numbers of Row, in the order in which they were stored if it keeps that.
	Rows func() []int
}

// Sink holds a sink to what the engine rests on: rows and place in one transaction, behind a fence.
func Sink(t *testing.T, target Target) {
	x := &sinkTest{Target: target}
	t.Run("a lane that nobody had stands nowhere", func(t *testing.T) { x.stands(t, "unknown", "") })
	t.Run("rows and place are stored together", x.together)
	t.Run("a place is stored without rows", x.placeAlone)
	t.Run("a place of 4 KiB", x.longPlace)
	t.Run("lanes stand apart", x.apart)
	t.Run("from another place nothing is stored", x.fenced)
	t.Run("of two at once one stores", x.race)
	t.Run("a refusal stores nothing", x.refusal)
	t.Run("another worker finds the place", x.found)
}

type sinkTest struct {
	Target
	next int // number of a row that was not used
}

// rows are n new ones, with their numbers.
func (x *sinkTest) rows(n int) (rows []any, numbers []int) {
	for range n {
		rows, numbers = append(rows, x.Row(x.next)), append(numbers, x.next)
		x.next++
	}
	return rows, numbers
}

func (x *sinkTest) stands(t *testing.T, lane, want string) {
	t.Helper()
	if at, err := x.Sink().Place(t.Context(), lane); err != nil || at != want {
		t.Errorf("lane %s stands at %q, want %q; error %v", lane, at, want, err)
	}
}

func (x *sinkTest) store(t *testing.T, lane string, rows []any, from, to string) {
	t.Helper()
	if err := x.Sink().Store(t.Context(), lane, rows, from, to); err != nil {
		t.Errorf("store in lane %s from %q to %q: %v", lane, from, to, err)
	}
}

// has checks which of some rows the target has.
func (x *sinkTest) has(t *testing.T, numbers []int, times int) {
	t.Helper()
	all := x.Rows()
	for _, n := range numbers {
		got := 0
		for _, m := range all {
			if m == n {
				got++
			}
		}
		if got != times {
			t.Errorf("the target has row %d %d times, want %d", n, got, times)
		}
	}
}

func (x *sinkTest) together(t *testing.T) {
	const lane = "team/orders/db/0-of-2"
	rows, first := x.rows(3)
	x.store(t, lane, rows, "", "validate/out@ab:1.0.4 #worker/1")
	rows, second := x.rows(2)
	x.store(t, lane, rows, "validate/out@ab:1.0.4 #worker/1", "b")
	x.stands(t, lane, "b")
	x.has(t, slices.Concat(first, second), 1)
}

func (x *sinkTest) placeAlone(t *testing.T) {
	x.store(t, "alone", nil, "", "a")
	x.store(t, "alone", []any{}, "a", "b")
	x.stands(t, "alone", "b")
}

func (x *sinkTest) longPlace(t *testing.T) {
	long := strings.Repeat("validate/out@ab:18446744073709551615.0.4294967295 ", 80) + "#worker/1"
	x.store(t, "long", nil, "", long)
	x.stands(t, "long", long)
	x.store(t, "long", nil, long, "b")
}

func (x *sinkTest) apart(t *testing.T) {
	x.store(t, "left", nil, "", "a")
	x.stands(t, "right", "")
	x.store(t, "right", nil, "", "b")
	x.stands(t, "left", "a")
}

func (x *sinkTest) fenced(t *testing.T) {
	x.store(t, "fenced", nil, "", "a")
	rows, numbers := x.rows(2)
	for _, from := range []string{"", "b", "A", "a "} {
		if err := x.Sink().Store(t.Context(), "fenced", rows, from, "c"); err == nil {
			t.Errorf("the lane stands at a, and a store from %q took effect", from)
		}
	}
	x.stands(t, "fenced", "a")
	x.has(t, numbers, 0)
	x.store(t, "fenced", rows, "a", "b")
	refused := (*stage.Refused)(nil)
	if err := x.Sink().Store(t.Context(), "fenced", rows, "a", "c"); err == nil || errors.As(err, &refused) {
		t.Errorf("rows that are stored, from a place where the lane does not stand any more: got %v, want an error that blames no row", err)
	}
	x.has(t, numbers, 1)
}

func (x *sinkTest) race(t *testing.T) {
	const workers = 8
	x.store(t, "race", nil, "", "start")
	var stored sync.Map
	var all sync.WaitGroup
	var numbers [workers][]int
	for w := range workers {
		var rows []any
		rows, numbers[w] = x.rows(3)
		sink, to := x.Sink(), string(rune('a'+w))
		all.Go(func() {
			if err := sink.Store(t.Context(), "race", rows, "start", to); err == nil {
				stored.Store(w, true)
			}
		})
	}
	all.Wait()
	winners := 0
	for w := range workers {
		times := 0
		if _, won := stored.Load(w); won {
			winners++
			times = 1
			x.stands(t, "race", string(rune('a'+w)))
		}
		x.has(t, numbers[w], times)
	}
	if winners != 1 {
		t.Errorf("%d of %d stores from one place took effect, want 1", winners, workers)
	}
}

func (x *sinkTest) refusal(t *testing.T) {
	if x.Bad == nil {
		t.Log("the target takes all")
		return
	}
	x.store(t, "refusal", nil, "", "a")
	rows, numbers := x.rows(4)
	rows = slices.Insert(rows, 2, x.Bad)
	err := x.Sink().Store(t.Context(), "refusal", rows, "a", "b")
	refused := (*stage.Refused)(nil)
	if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != 2 || refused.Rows[0].Reason == "" || refused.Rows[0].Err == nil {
		t.Fatalf("got %v, want the refusal of row 2 with a reason and what the target says", err)
	}
	x.stands(t, "refusal", "a")
	x.has(t, numbers, 0)
	x.store(t, "refusal", slices.Delete(rows, 2, 3), "a", "b")
	x.has(t, numbers, 1)
}

func (x *sinkTest) found(t *testing.T) {
	x.store(t, "found", nil, "", "a")
	x.stands(t, "found", "a")
	x.store(t, "found", nil, "a", "b")
	x.stands(t, "found", "b")
}
