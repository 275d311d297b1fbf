package runs

import (
	"reflect"
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage/state"
)

func kept[T any](f *stagetest.Fields, fresh func() *T, encode func(*graph, *T), derived ...string) {
	stagetest.Kept(f, fresh, func(sc *state.Codec, v *T) { encode(&graph{Codec: sc}, v) }, derived...)
}

func zero[T any]() *T { return new(T) }

// TestNothingIsForgotten: a field that is added to the state is kept, or somebody has said why not.
func TestNothingIsForgotten(t *testing.T) {
	busy := New(DefaultLimits, testName)
	busy.waiting.get(1, 1, 1, &Counts{})
	f := stagetest.NewFields(t, busy.waiting, []*incident{{suspects: []suspect{{}}}})
	kept(f, func() *Core { return New(DefaultLimits, testName) }, (*graph).core,
		"limits", "name", "byKey", "byName", "byHash", "byRoute", "byLink", "byGauge", "bySeries", "news", "counts", "suspected", "visit", "layer")
	kept(f, zero[Service], (*graph).service, "out", "in", "routes", "best", "top", "known", "scoring", "visited", "part", "lossAt", "loses")
	kept(f, zero[ServiceKey], (*graph).key)
	kept(f, zero[Entity], (*graph).entity)
	kept(f, zero[statement], (*graph).statement)
	kept(f, func() *latency { return &latency{n: 1} }, (*graph).latency)
	kept(f, zero[latencyNorm], (*graph).latencyNorm, "n", "mean", "sd", "dispersal")
	kept(f, zero[route], (*graph).route, "at", "rare", "always", "lines", "runs", "also")
	kept(f, zero[said], (*graph).said, "sum")
	kept(f, zero[link], (*graph).link, "evidence", "calls", "slow", "usually")
	kept(f, zero[gauge], (*graph).gauge)
	kept(f, zero[waitingSpan], (*graph).waitingSpan, "before", "after")
	kept(f, zero[queued], (*graph).queued)
	kept(f, zero[series], (*graph).series)
	kept(f, zero[sample], (*graph).sample)
	kept(f, zero[alarm], (*graph).alarm)
	kept(f, zero[Alarm], (*graph).asked)
	kept(f, zero[Candidate], (*graph).candidate)
	kept(f, zero[Evidence], (*graph).evidence)
	kept(f, zero[incident], (*graph).incident)
	kept(f, zero[suspect], (*graph).suspect)
	f.Reach(reflect.TypeFor[Core](), reflect.TypeFor[Limits](), reflect.TypeFor[Counts](), reflect.TypeFor[Finding](), reflect.TypeFor[waitingSpans](), reflect.TypeFor[queue](),
		reflect.TypeFor[evidence](), reflect.TypeFor[scores](), reflect.TypeFor[routeKey](), reflect.TypeFor[linkKey](), reflect.TypeFor[gaugeKey](),
		reflect.TypeFor[seriesKey]())
}
