package correlate

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate/patterns"
	"millrace.dev/millrace/workers/correlate/runs"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

func lru[V any](t *testing.T, v V) *simplelru.LRU[string, V] {
	t.Helper()
	l, err := simplelru.NewLRU[string, V](8, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Add("x", v)
	return l
}

// kept checks the codec of one type.
func kept[T any](f *stagetest.Fields, fresh func() *T, encode func(*graph, *T), derived ...string) {
	stagetest.Kept(f, fresh, func(sc *state.Codec, v *T) { encode(&graph{Codec: sc}, v) }, derived...)
}

func zero[T any]() *T { return new(T) }

// TestNothingIsForgotten: a field that is added to the state is kept, or somebody has said why not.
func TestNothingIsForgotten(t *testing.T) {
	f := stagetest.NewFields(t, &eventv1.Event{Id: "x"}, &eventv1.EntityRef{Name: "x"}, &event.Event{},
		lru(t, &incident{}), lru(t, &entity{}), lru(t, &clock{}), busyDetector(), busyRuns(), busyLearner(), busyPatterns())
	var of correlator
	stagetest.Kept(f, newTestCorrelator, func(c *state.Codec, v *correlator) { v.state(c) }, "source", "kept", "passes")
	kept(f, func() *realtime { return newTestCorrelator().realtime }, (*graph).realtime,
		"within", "idle", "voice", "effects", "links", "evicted", "incidents")
	kept(f, func() *memory { return newTestCorrelator().realtime.memory }, (*graph).memory, "span", "held", "maxHeld", "evicted", "size")
	kept(f, zero[entity], (*graph).entity, "held")
	kept(f, fullRing, (*graph).ring)
	kept(f, zero[ailments], (*graph).ailing)
	kept(f, zero[ailment], (*graph).ailment)
	kept(f, zero[deadline], (*graph).deadline)
	kept(f, zero[clock], (*graph).clock, "silence")
	kept(f, zero[partitionClock], (*graph).partitionClock)
	kept(f, zero[observation], (*graph).observation)
	kept(f, zero[cause], (*graph).cause)
	kept(f, zero[incident], (*graph).incident)
	kept(f, zero[linkKind], (*graph).linkKind)
	kept(f, zero[eventv1.EntityRef], (*graph).ref, "state", "unknownFields", "sizeCache")
	kept(f, func() *detector { return newTestCorrelator().runs }, (*graph).detector, "voice", "news", "told", "dropped", "sizes", "losses")
	kept(f, func() *learner { return newTestCorrelator().patterns }, (*graph).learner, "voice", "within", "told", "dropped", "sizes")
	kept(f, func() *timeline { return &newTestCorrelator().runs.timeline }, (*graph).timeline, "last", "input")
	kept(f, func() *windows { return newTestCorrelator().windows }, (*graph).windows,
		"size", "lateness", "minEvents", "maxEvents", "last", "dropped", "open")
	kept(f, zero[group], (*graph).group, "key")
	kept(f, zero[groupKey], (*graph).groupKey)
	kept(f, func() *watermark { return &newTestCorrelator().windows.watermark }, (*graph).watermark, "silence", "partitions", "key")
	f.Reach(reflect.TypeOf(of), reflect.TypeFor[voice]())
}

func busyDetector() *detector {
	d := newTestCorrelator().runs
	d.core.Advance(1)
	return d
}

// busyRuns has seen something.
func busyRuns() *runs.Core {
	c := runs.New(runs.DefaultLimits, func(*runs.Service, int64, string) string { return "" })
	c.Advance(1)
	return c
}

func busyLearner() *learner {
	l := newTestCorrelator().patterns
	l.core.Advance(1)
	return l
}

// busyPatterns has seen something.
func busyPatterns() *patterns.Core {
	c := patterns.New(patterns.DefaultLimits, func(*patterns.Pattern, string, int64) string { return "" })
	c.Advance(1)
	return c
}

// fullRing has one observation at each place.
func fullRing() *ring {
	r, o := &ring{n: 2 * ringSize}, &observation{}
	for range ringSize {
		r.add(o)
	}
	return r
}

func newTestCorrelator() *correlator {
	c := &config.StageConfig{Stage: "correlate", Partitions: 1, Correlate: &config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}, Runs: &config.CorrelateRuns{}, Patterns: &config.CorrelatePatterns{}}}
	set, err := settingsOf(c.Correlate)
	if err != nil {
		panic(err)
	}
	return newCorrelator(stage.Settings{Config: c}, set)
}

// busy has seen n warnings of a cluster where much is wrong.
func busy(tb testing.TB, n int) *correlator {
	tb.Helper()
	c := newTestCorrelator()
	kinds := [...]string{"k8s.pod.oom_killed", "k8s.pod.crash_loop_back_off", "k8s.pod.not_ready", "k8s.deployment.image_changed", "k8s.pod.ready", "app.log"}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := decode.New(decode.Limits{})
	for i := range n {
		now = now.Add(20 * time.Millisecond)
		pod := i * 7 % 5000
		line := fmt.Sprintf(`{"id":"%032x","source":"/clusters/c/nodes/n%d","type":%q,"time":%q,"severitynumber":17,"body":"container app of pod cart-%d failed for the %dth time",`+
			`"entity":{"kind":"Pod","namespace":"shop","name":"cart-%d","uid":"u-%d"},"related":[{"kind":"Deployment","namespace":"shop","name":"cart-%d","role":"workload"}],"resource":{"k8s.node.name":"n%d"}}`,
			i, pod%100, kinds[i%len(kinds)], now.Format(time.RFC3339Nano), pod, i, pod, pod, pod/10, pod%100)
		if i%50 == 0 {
			line += fmt.Sprintf(`
{"id":"l%d","source":"s","type":"app.log","time":%q,"body":"paid","spanid":"00000000%08x","traceid":"%032x","resource":{"service.name":"cart"}}
{"id":"s%d","source":"s","type":"app.request","time":%q,"spanid":"00000000%08x","traceid":"%032x","span":{"kind":"server","name":"/cart","durationNs":5000000},"resource":{"service.name":"cart"}}`,
				i, now.Format(time.RFC3339Nano), i+1, i+1, i, now.Format(time.RFC3339Nano), i+1, i+1)
		}
		d.Reset()
		b := &stage.Batch{Now: now}
		b.Events, _ = d.Decode(nil, decode.Message{Data: []byte(line)})
		b.Reset(1)
		if err := c.Process(tb.Context(), b); err != nil {
			tb.Fatal(err)
		}
		if i%50 == 0 {
			b := &stage.Batch{Now: now}
			b.Reset(1)
			if err := c.Flush(tb.Context(), now, false, b); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return c
}

func freshCorrelator() stage.Snapshotter { return newTestCorrelator() }

func TestFormatHasAVersion(t *testing.T) { stagetest.Format(t, stateVersion, busy(t, 3)) }

// BenchmarkSnapshot is of the state after 30,000 notable events in ten minutes.
func BenchmarkSnapshot(b *testing.B) {
	stagetest.BenchmarkSnapshot(b, busy(b, 30_000), freshCorrelator, 30_000, "event")
}

func FuzzRestore(f *testing.F) { stagetest.FuzzRestore(f, busy(f, 60), freshCorrelator) }
