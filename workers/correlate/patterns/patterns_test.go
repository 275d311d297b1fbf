package patterns

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/stage/state"
)

// told is everything that a core has told of, as text.
type told []string

func (t *told) hear(c *Core) {
	findings, lists := c.News()
	for _, f := range findings {
		*t = append(*t, fmt.Sprintf("%+v", f))
	}
	for _, l := range lists {
		*t = append(*t, fmt.Sprintf("%+v", l))
	}
}

func format() state.Format { return state.Format{Version: 1} }

func snapshot(t testing.TB, c *Core) []byte {
	t.Helper()
	b, err := state.Write(nil, format(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func restored(t testing.TB, l Limits, b []byte) *Core {
	t.Helper()
	c := New(l, testName)
	if err := state.Read(b, format(), c.State); err != nil {
		t.Fatal(err)
	}
	return c
}

// small is a story in which everything happens that a core knows of: patterns are found, begin, do not go on, and room runs out.
func small() []Event {
	s := newStory(9)
	s.bursty(6000, 20*hour)
	s.plant(60, 20*hour, 1, "a", "b")
	s.plant(60, 20*hour, 1, "x", "y", "z")
	s.plant(150, 20*hour, 0.98, "begin", "end")
	s.plant(80, 20*hour, 1, "sign", "trouble")
	for i := range s.events {
		if s.events[i].Type == "trouble" {
			s.events[i].Severity = 17
		}
	}
	return s.sorted()
}

func tight() Limits {
	l := DefaultLimits
	l.Keys, l.Kinds, l.Pairs, l.Waiting = 40, 30, 400, 60
	return l
}

// TestTakeovers: what is told is the same, byte for byte, when the state moves to another core after every few messages.
func TestTakeovers(t *testing.T) {
	events := small()
	for name, l := range map[string]Limits{"with room": DefaultLimits, "without room": tight()} {
		t.Run(name, func(t *testing.T) {
			var want, got told
			one, other := New(l, testName), New(l, testName)
			n := 0
			for part := range slices.Chunk(events, 20) {
				for i := range part {
					one.Take(&part[i])
					other.Take(&part[i])
				}
				one.Advance(part[len(part)-1].At)
				other.Advance(part[len(part)-1].At)
				want.hear(one)
				got.hear(other)
				if n++; n%5 == 0 {
					b := snapshot(t, other)
					other = restored(t, l, b)
					if again := snapshot(t, other); string(again) != string(b) {
						t.Fatal("a snapshot of what was restored differs")
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-undisturbed +moved:\n%s", diff)
			}
			if len(want) < 20 {
				t.Errorf("told of %d things: too few to tell", len(want))
			}
		})
	}
}

// TestBatches: in how many messages events come makes no difference.
func TestBatches(t *testing.T) {
	events := small()
	var want told
	for _, size := range []int{1, 7, 1000} {
		c := New(DefaultLimits, testName)
		var got told
		for part := range slices.Chunk(events, size) {
			for i := range part {
				c.Take(&part[i])
			}
			c.Advance(part[len(part)-1].At)
			got.hear(c)
		}
		c.End(events[len(events)-1].At)
		got.hear(c)
		slices.Sort(got) // findings and lists are two lists
		if want == nil {
			want = got
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d events at once (-one +%d):\n%s", size, size, diff)
		}
	}
}

// TestLate: events that come in another order, each less than the lag late, are told of in the same way.
func TestLate(t *testing.T) {
	events := small()
	r := rand.New(rand.NewPCG(4, 4))
	for i := range events {
		events[i].At += int64(i) // no two at once
	}
	late := slices.Clone(events)
	due := map[string]int64{}
	for i := range late {
		due[late[i].ID] = late[i].At + r.Int64N(lag-second)
	}
	slices.SortFunc(late, func(a, b Event) int { return int(due[a.ID] - due[b.ID]) })
	var want, got told
	for events, to := range map[*[]Event]*told{&events: &want, &late: &got} {
		c := New(DefaultLimits, testName)
		latest := int64(0)
		for i := range *events {
			e := &(*events)[i]
			latest = max(latest, e.At)
			c.Take(e)
			c.Advance(latest)
		}
		c.End(latest)
		to.hear(c)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-in order +late:\n%s", diff)
	}
}

// teacher has a core know that kinds follow each other, at one key.
type teacher struct {
	t    *testing.T
	core *Core
	at   int64
	n    int
}

func teach(t *testing.T, severity int32, delay int64) *teacher {
	t.Helper()
	x := &teacher{t: t, core: New(DefaultLimits, testName), at: began}
	for range 50 {
		x.happens("A", 9)
		x.pass(delay)
		x.happens("B", severity)
		x.pass(30 * minute)
	}
	if _, _, _, known := x.core.Sizes(); known != 1 {
		t.Fatalf("%d patterns are known, want 1", known)
	}
	x.core.News()
	return x
}

func (x *teacher) happens(kind string, severity int32) {
	x.n++
	e := Event{ID: fmt.Sprint("e", x.n), At: x.at, Type: kind, Severity: severity}
	e.Keys[Workload] = "shop/pay"
	x.core.Take(&e)
	x.pass(0)
}

func (x *teacher) pass(d int64) {
	x.at += d
	x.core.Advance(x.at)
}

func (x *teacher) findings() (said []string) {
	findings, _ := x.core.News()
	for _, f := range findings {
		said = append(said, fmt.Sprintf("%s %s: %s, revision %d, %s, %q then %q, within %d s, %.0f of %.0f, %s", f.About, f.Key, f.Pattern.text(), f.Revision, f.Outcome,
			f.First, f.Then, f.Pattern.Usually/second, f.Pattern.Followed, f.Pattern.Begun, f.Pattern.Relation))
	}
	return said
}

func TestPatternBegins(t *testing.T) {
	for name, c := range map[string]struct {
		severity int32
		then     func(*teacher)
		want     []string
	}{
		"trouble follows": {severity: 17, then: func(x *teacher) {
			x.pass(40 * second)
			x.happens("B", 17)
		}, want: []string{
			`begins shop/pay: A > B, revision 1, , "e101" then "", within 42 s, 49 of 49, workload`,
			`begins shop/pay: A > B, revision 2, came, "e101" then "e102", within 42 s, 49 of 49, workload`,
		}},
		"trouble does not follow": {severity: 17, then: func(*teacher) {}, want: []string{
			`begins shop/pay: A > B, revision 1, , "e101" then "", within 42 s, 49 of 49, workload`,
			`begins shop/pay: A > B, revision 2, did-not-come, "e101" then "", within 42 s, 49 of 50, workload`,
		}},
		"trouble again within the hour": {severity: 17, then: func(x *teacher) {
			for range 3 {
				x.pass(10 * minute)
				x.happens("A", 9)
			}
		}, want: []string{
			`begins shop/pay: A > B, revision 1, , "e101" then "", within 42 s, 49 of 49, workload`,
			`begins shop/pay: A > B, revision 2, did-not-come, "e101" then "", within 42 s, 49 of 50, workload`,
		}},
		"what always follows comes": {severity: 9, then: func(x *teacher) {
			x.pass(40 * second)
			x.happens("B", 9)
		}},
		"what always follows does not come": {severity: 9, then: func(*teacher) {}, want: []string{
			`missing shop/pay: A > B, revision 1, , "e101" then "", within 42 s, 49 of 50, workload`,
			`missing shop/pay: A > B, revision 2, did-not-come, "e101" then "", within 42 s, 49 of 50, workload`,
		}},
		"what always follows comes late": {severity: 9, then: func(x *teacher) {
			x.pass(10 * minute)
			x.happens("B", 9)
		}, want: []string{
			`missing shop/pay: A > B, revision 1, , "e101" then "", within 42 s, 49 of 50, workload`,
			`missing shop/pay: A > B, revision 2, came, "e101" then "e102", within 42 s, 49 of 50, workload`,
		}},
		"a burst is one episode": {severity: 9, then: func(x *teacher) {
			for range 5 {
				x.pass(5 * second)
				x.happens("A", 9)
			}
			x.pass(5 * second)
			x.happens("B", 9)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := teach(t, c.severity, 40*second)
			x.pass(2 * hour) // nothing is quiet any more
			x.core.News()
			x.happens("A", 9)
			c.then(x)
			x.pass(3 * hour)
			got := x.findings()
			for i := range got { // counts fade with each day
				got[i] = strings.ReplaceAll(got[i], "48 of", "49 of")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestForgotten: a pattern that holds no more is told of as such, and kinds that never come again are forgotten with all that was known of them.
func TestForgotten(t *testing.T) {
	x := teach(t, 9, 40*second)
	for range 200 {
		x.happens("A", 9)
		x.pass(30 * minute)
	}
	lost := false
	_, lists := x.core.News()
	for _, l := range lists {
		lost = lost || !l.Known
	}
	if _, _, _, known := x.core.Sizes(); known != 0 || !lost {
		t.Errorf("%d patterns are known of what has not followed 200 times; told of the end: %t", known, lost)
	}
	x = teach(t, 9, 40*second)
	for range 32 {
		x.happens("C", 9)
		x.pass(24 * hour)
	}
	_, kinds, pairs, known := x.core.Sizes()
	if kinds != 1 || pairs != 0 || known != 0 {
		t.Errorf("after a month without: %d kinds, %d pairs, %d patterns, want 1, 0, 0", kinds, pairs, known)
	}
	restored(t, DefaultLimits, snapshot(t, x.core))
}

// TestSharedShock: what all keys go through at once is one observation, not one for each of them.
func TestSharedShock(t *testing.T) {
	c := New(DefaultLimits, testName)
	n := 0
	all := func(at int64, kind string) {
		for key := range 500 {
			n++
			e := Event{ID: fmt.Sprint(n), At: at, Type: kind}
			e.Keys[Pod] = fmt.Sprint("p", key)
			c.Take(&e)
		}
		c.Advance(at)
	}
	all(began, "up")
	for i := range 3 { // three outages are too few for a pattern
		at := began + int64(i+1)*2*hour
		all(at, "A")
		all(at+20*second, "B")
	}
	c.End(began + 24*hour)
	if _, _, _, known := c.Sizes(); known != 0 {
		t.Errorf("%d patterns after three outages", known)
	}
}

// TestBounded: no input takes more room than the limits say.
func TestBounded(t *testing.T) {
	l := tight()
	l.Kinds = 50
	c := New(l, testName)
	r := rand.New(rand.NewPCG(2, 2))
	at := began
	for i := range 50_000 {
		e := Event{ID: strings.Repeat("i", r.IntN(100)), At: at, Type: strings.Repeat("ü", 300) + "x", Reason: fmt.Sprint(r.IntN(60))}
		for k := range e.Keys {
			e.Keys[k] = fmt.Sprint(r.IntN(5))
			if i%100 == 0 {
				e.Keys[k] = fmt.Sprint(r.IntN(100))
			}
		}
		switch r.IntN(100) {
		case 0:
			e.At = math.MinInt64
		case 1:
			e.At = 0
		case 2:
			e.At = at - hour
		}
		c.Take(&e)
		at += r.Int64N(4 * second)
		if i%10 == 0 {
			c.Advance(at)
		}
		if len(c.queue.heap) > l.Waiting+perKey*l.Keys*2 {
			t.Fatalf("%d wait", len(c.queue.heap))
		}
	}
	if keys, kinds, pairs, known := c.Sizes(); keys > l.Keys || kinds > l.Kinds+l.Known || pairs > l.Pairs+l.Known || known > l.Known {
		t.Errorf("%d keys, %d kinds, %d pairs, %d patterns: more than %+v", keys, kinds, pairs, known, l)
	}
	if n := c.Counts(); n.Keys == 0 || n.Kinds == 0 || n.Pairs == 0 || n.Slots == 0 || n.Waiting == 0 {
		t.Errorf("what was forgotten is not counted: %+v", n)
	}
	restored(t, l, snapshot(t, c))
}

// TestFarAhead: event time that goes ahead by a century ends, and so does one that begins anew.
func TestFarAhead(t *testing.T) {
	x := teach(t, 9, 40*second)
	x.pass(100 * 365 * 24 * hour)
	x.core.Rewind()
	x.at = began
	x.happens("A", 9)
	x.pass(hour)
	x.core.Advance(math.MaxInt64 - DefaultLimits.Within)
}

// TestEvidence: the mean likelihood ratio under the null is 1, and no more, for each number of stretches with an event.
func TestEvidence(t *testing.T) {
	for s := range controls + 2 {
		hit := float64(s) / (controls + 1)
		mean := 0.0
		if s > 0 {
			mean += hit * math.Exp(float64(gains[s])/nat)
		}
		if s <= controls {
			mean += (1 - hit) * math.Exp(float64(losses[s])/nat)
		}
		if mean > 1 || mean < 0.99999 {
			t.Errorf("%d of %d stretches: the mean is %v", s, controls+1, mean)
		}
	}
}

func TestWilson(t *testing.T) {
	for name, c := range map[string]struct{ k, n, want float64 }{
		"none of none": {0, 0, 0}, "none": {0, 10, 0}, "half": {5, 10, 0.2366}, "all": {20, 20, 0.8389}, "most": {112, 129, 0.7995},
	} {
		if got := wilson(c.k, c.n); math.Abs(got-c.want) > 5e-4 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// BenchmarkPatterns is of an event with three keys among a hundred kinds and 40 workloads, and of the memory for each pair and key.
func BenchmarkPatterns(b *testing.B) {
	s := newStory(1)
	s.poisson(200_000, 4*24*hour)
	events := s.sorted()
	before := heap()
	c := New(DefaultLimits, testName)
	span := events[len(events)-1].At - events[0].At + hour
	b.ReportAllocs()
	i, turn := 0, int64(0)
	for b.Loop() {
		e := events[i%len(events)]
		if i%len(events) == 0 && i > 0 {
			turn += span
		}
		e.At += turn
		c.Take(&e)
		if i++; i%100 == 0 {
			c.Advance(e.At)
		}
	}
	b.StopTimer()
	keys, _, pairs, _ := c.Sizes()
	c.keys.Purge()
	c.queue = queue{}
	b.ReportMetric((heap()-before)/float64(max(pairs, 1)), "bytes/pair")
	b.ReportMetric(float64(pairs), "pairs")
	b.ReportMetric(float64(keys), "keys")
	runtime.KeepAlive(c)
	runtime.KeepAlive(events)
}

// heap is what is in use, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// TestMemoryPerKey measures a key that had five kinds of events.
func TestMemoryPerKey(t *testing.T) {
	l := DefaultLimits
	before := heap()
	c := New(l, testName)
	for i := range l.Keys {
		for kind := range 5 {
			e := Event{ID: "0f8fad5b-d9cb-469f-a165-70867728950e", At: began + int64(i)*second, Type: fmt.Sprint("kind", kind)}
			e.Keys[Workload] = fmt.Sprint("namespace/workload-", i)
			c.Take(&e)
		}
		c.Advance(began + int64(i)*second)
	}
	c.Advance(began + int64(l.Keys)*second + hour)
	c.queue = queue{}
	each := (heap() - before) / float64(c.keys.Len())
	t.Logf("%.0f bytes for each of %d keys", each, c.keys.Len())
	if each > 2600 {
		t.Errorf("a key with five kinds takes %.0f bytes", each)
	}
	runtime.KeepAlive(c)
}
