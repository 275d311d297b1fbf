package join

import (
	"container/list"
	"log/slog"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
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
	f := stagetest.NewFields(t, list.List{}, &list.Element{})
	stagetest.Kept(f, func() *barrier { return &barrier{} }, j.barrier, "answered", "bytes", "place", "places", "two", "three")
	stagetest.Kept(f, func() *answer { return &answer{} }, func(c *state.Codec, a *answer) {
		b := barrier{answers: []answer{*a}}
		j.barrier(c, &b)
	})
	f.Reach(reflect.TypeFor[barrier]())
}

// TestFormat holds the bytes of a state.
func TestFormat(t *testing.T) {
	j := newTestJoin(t)
	j.until, j.number, j.ended, j.forget = []int64{7, 8}, 2, map[string]int64{"gone": 9}, []string{"gone"}
	for _, b := range []*barrier{
		{key: "a", number: 1, opened: 2, newest: 3, since: 1, silent: 2, answers: []answer{{branch: 0, took: 4, event: []byte("event")}}},
		{key: "b", number: 2, opened: 5, newest: math.MaxInt64, answers: []answer{{branch: 1, took: 6, event: []byte("other")}, {branch: 1, event: []byte("again")}}},
	} {
		b.places = make([]int, 3)
		b.place = j.order.PushBack(b)
		j.open[b.key] = b
	}
	stagetest.Format(t, stateVersion, j)
}
