package join

import (
	"log/slog"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage"
)

func newTestJoin(t *testing.T) *join {
	t.Helper()
	c := configOf(nil)
	j, err := newJoin(stage.Settings{Config: &c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestNothingIsForgotten: a field that is added to the state is kept, or somebody has said why not.
func TestNothingIsForgotten(t *testing.T) {
	j := newTestJoin(t)
	f := stagetest.NewFields(t)
	stagetest.Kept(f, func() *barrier { return &barrier{} }, j.barrier, "answered", "bytes", "first", "answers", "before", "after", "places", "two", "three")
	stagetest.Kept(f, func() *wholeAnswer { return &wholeAnswer{} }, j.wholeAnswer)
	f.Reach(reflect.TypeFor[barrier](), reflect.TypeFor[answer]())
}

// TestFormat holds the bytes of a state.
func TestFormat(t *testing.T) {
	j := newTestJoin(t)
	j.until, j.number, j.ended, j.forget = []int64{7, 8}, 2, map[string]int64{"gone": 9}, []string{"gone"}
	a := &barrier{key: "a", number: 1, opened: 2, newest: 3, since: 1, silent: 2}
	a.add(0, 4, []byte("event"), 0)
	b := &barrier{key: "b", number: 2, opened: 5, newest: math.MaxInt64}
	b.add(1, 6, []byte("other"), 0)
	b.add(1, 0, []byte("again"), 0)
	for _, b := range []*barrier{a, b} {
		j.order.push(b)
		j.open[b.key] = b
	}
	stagetest.Format(t, stateVersion, j)
}
