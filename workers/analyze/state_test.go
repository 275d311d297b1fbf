package analyze

import (
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

func lru[K comparable, V any](t testing.TB, key K, v V) *simplelru.LRU[K, V] {
	t.Helper()
	l, err := simplelru.NewLRU[K, V](8, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Add(key, v)
	return l
}

// kept checks the codec of one type.
func kept[T any](f *stagetest.Fields, fresh func() *T, encode func(*codec, *T), derived ...string) {
	stagetest.Kept(f, fresh, func(sc *state.Codec, v *T) { encode(&codec{Codec: sc}, v) }, derived...)
}

func zero[T any]() *T { return new(T) }

// TestNothingIsForgotten: a field that is added to the state is kept, or somebody has said why not.
func TestNothingIsForgotten(t *testing.T) {
	key := xxh3.Uint128{Hi: 1, Lo: 2}
	f := stagetest.NewFields(t, &eventv1.Event{Id: "x"}, &eventv1.EntityRef{Name: "x"}, &eventv1.Evidence{EventId: "x"}, key,
		lru(t, key, newTestAnalyzer().store.newSeries()), lru(t, key, &family{}), lru(t, "x", &episode{}), lru(t, "x", &openLimit{}), lru(t, "x", &openPrediction{}))
	stagetest.Kept(f, newTestAnalyzer, func(c *state.Codec, a *analyzer) { a.state(c) }, "settings", "results", "line", "inference", "kept", "passes")
	kept(f, func() *store { return newStore(testSettings(), 8, nil) }, (*codec).store, "labels", "buf", "limit", "by", "anomaly", "trend", "evicted", "size")
	kept(f, func() *insights { return &newTestAnalyzer().insights }, (*codec).insights, "source", "pipeline", "threshold", "far", "quiet", "max", "evicted")
	kept(f, func() *series { return newTestAnalyzer().store.newSeries() }, (*codec).series)
	kept(f, zero[anomalies], (*codec).anomalies)
	kept(f, func() *points { return &points{n: maxPoints - 1} }, (*codec).points)
	kept(f, zero[waiting], (*codec).waiting)
	kept(f, zero[counter], (*codec).counter)
	kept(f, func() *family { return &family{n: maxLabels - 1} }, (*codec).family)
	kept(f, zero[attribute], (*codec).attribute)
	kept(f, zero[episode], (*codec).episode)
	kept(f, zero[openLimit], (*codec).limit)
	kept(f, zero[openPrediction], (*codec).prediction)
	f.Reach(reflect.TypeFor[analyzer](), reflect.TypeFor[settings](), reflect.TypeFor[results](), reflect.TypeFor[line](), reflect.TypeFor[labels](), reflect.TypeFor[inference]())
}

func testSettings() settings {
	return settings{anomaly: true, trend: true, threshold: 5, minPoints: 12, span: 10 * time.Second, maxSeries: 100_000}
}

func newTestAnalyzer() *analyzer {
	set := testSettings()
	return &analyzer{
		settings: set, store: newStore(set, set.maxSeries, nil), insights: newInsights("source", "pipeline", set, maxEpisodes, nil),
		kept: format(set, "source", 1),
	}
}

// filled has n series as they are after a while.
func filled(tb testing.TB, n int) *analyzer {
	tb.Helper()
	a := newTestAnalyzer()
	for i := range n {
		s, _ := a.store.get(xxh3.Uint128{Hi: uint64(i), Lo: uint64(i) * 0x9e3779b97f4a7c15})
		for v := range 70 {
			x := float64(v*i%1000) * 1.1
			at := int64(1+v) * int64(11*time.Second)
			s.Add(x)
			s.learn(x)
			s.flat.Add(x)
			a.clock.Add(at)
			s.rhythm.Add(at, &a.clock)
			s.points.add(at, x, int64(a.span))
		}
	}
	return a
}

func freshAnalyzer() stage.Snapshotter { return newTestAnalyzer() }

func TestFormatHasAVersion(t *testing.T) {
	// Without arithmetic, which differs between processors.
	a := newTestAnalyzer()
	s := &series{
		anomalies: &anomalies{mean: 4}, points: &points{n: 2, values: [maxPoints]float32{5, 6}, gaps: [maxPoints]uint16{7, 8}},
		direction: -1, name: "name", named: true,
	}
	s.flat.Add(3)
	for range 3 {
		s.Add(0)
	}
	a.clock.Add(int64(time.Hour))
	a.swept = 15
	a.store.lru.Add(xxh3.Uint128{Hi: 1, Lo: 2}, s)
	a.store.families.Add(xxh3.Uint128{Hi: 9}, &family{n: 1, attrs: [maxLabels]attribute{{key: 10, seen: 11, wide: true}}})
	ep := &episode{id: "id", root: &eventv1.EntityRef{Name: "pay"}, begun: 12, series: []string{"s"}, worst: &eventv1.Event{Id: "worst"}, strong: true}
	a.insights.open.Add("pay", ep)
	a.insights.pending = []*episode{ep}
	a.insights.limits.Add("limit", &openLimit{about: &eventv1.Event{Id: "about"}, name: "name", seen: 13})
	a.insights.predictions.Add("prediction", &openPrediction{about: &eventv1.Event{Id: "scored"}, name: "risk", seen: 14})
	stagetest.Format(t, stateVersion, a)
}

// BenchmarkSnapshot is of 10,000 series.
func BenchmarkSnapshot(b *testing.B) {
	stagetest.BenchmarkSnapshot(b, filled(b, 10_000), freshAnalyzer, 10_000, "series")
}

func FuzzRestore(f *testing.F) { stagetest.FuzzRestore(f, filled(f, 3), freshAnalyzer) }
