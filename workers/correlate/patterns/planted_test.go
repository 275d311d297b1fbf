package patterns

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
)

// began is the time at which the stories of tests begin.
var began = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()

func testName(p *Pattern, key string, at int64) string {
	return fmt.Sprint(p.Relation, strings.Join(p.First, ">"), ">", p.Then, key, at)
}

// story is noise with planted sequences.
type story struct {
	r      *rand.Rand
	events []Event
	// true are the patterns that are there, and must those that must be found: they were planted 20 times or more.
	true, must map[string]bool
}

// places are the objects of a small cluster: workloads, in namespaces and on nodes.
const places = 40

func (s *story) add(at int64, place int, kind string) {
	e := Event{ID: fmt.Sprint("e", len(s.events)), At: at, Object: "Pod", Type: kind, Severity: 9}
	e.Keys[Workload] = fmt.Sprint("shop/w", place)
	e.Keys[Node] = fmt.Sprint("n", s.r.IntN(10))
	e.Keys[Namespace] = fmt.Sprint("ns", place%5)
	s.events = append(s.events, e)
}

// poisson is noise without memory.
func (s *story) poisson(n int, span int64) {
	for range n {
		s.add(began+s.r.Int64N(span), s.r.IntN(places), s.noise())
	}
}

// bursty is noise in bursts of one kind at one place.
func (s *story) bursty(n int, span int64) {
	for n > 0 {
		at, place, kind := began+s.r.Int64N(span), s.r.IntN(places), s.noise()
		for range min(n, 1+s.r.IntN(30)) {
			s.add(at, place, kind)
			at += int64(float64(10*second) * s.r.ExpFloat64())
			n--
		}
	}
}

// daily is noise that comes by day, and hardly by night.
func (s *story) daily(n int, span int64) {
	for n > 0 {
		at := began + s.r.Int64N(span)
		if day := float64(at%(24*hour)) / float64(24*hour); s.r.Float64() < (1+0.95*math.Sin(2*math.Pi*day))/1.95 {
			s.add(at, s.r.IntN(places), s.noise())
			n--
		}
	}
}

// noise is a kind, of which a few are frequent and many are rare.
func (s *story) noise() string { return fmt.Sprint("noise", int(30*s.r.Float64()*s.r.Float64())) }

// plant has kinds follow each other n times, each with a probability.
func (s *story) plant(n int, span int64, confidence float64, kinds ...string) {
	for range n {
		at, place := began+span/20+s.r.Int64N(span*9/10), s.r.IntN(places)
		for i, kind := range kinds {
			if i > 0 && s.r.Float64() >= confidence {
				break
			}
			s.add(at, place, kind)
			at += second + s.r.Int64N(39*second)
		}
	}
	for i := range kinds {
		for j := range kinds[:i] {
			s.true["Pod "+kinds[j]+" > Pod "+kinds[i]] = true
		}
		if i > 0 && n >= 20 {
			s.must["Pod "+kinds[i-1]+" > Pod "+kinds[i]] = true
		}
	}
	if len(kinds) == 3 {
		all := "Pod " + strings.Join(kinds, " > Pod ")
		s.true[all], s.must[all] = true, n >= 40
	}
}

func newStory(seed uint64) *story {
	return &story{r: rand.New(rand.NewPCG(seed, 1)), true: map[string]bool{}, must: map[string]bool{}}
}

func (s *story) planted(span int64) {
	for i, n := range []int{20, 20, 20, 25, 30, 40, 100, 300} {
		s.plant(n, span, 1, fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	s.plant(40, span, 0.8, "p", "q")
	s.plant(40, span, 1, "x", "y", "z")
	s.plant(100, span, 0.9, "u", "v", "w")
	s.plant(60, span, 1, "c", "noise29") // one that is noise, too
}

// sorted are the events in the order of their times.
func (s *story) sorted() []Event {
	slices.SortStableFunc(s.events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return s.events
}

func (p *Pattern) text() string { return strings.Join(p.First, " > ") + " > " + p.Then }

// learn has a core take all events, in messages of so many, and another one go on with its state from time to time. It returns every pattern that
// was ever told of, and those that hold at the end.
func learn(t *testing.T, events []Event, size int) (ever, end map[string]bool) {
	t.Helper()
	c := New(DefaultLimits, testName)
	ever, end = map[string]bool{}, map[string]bool{}
	hear := func() {
		_, lists := c.News()
		for _, l := range lists {
			ever[l.Pattern.text()] = true
			end[l.Pattern.text()] = l.Known
		}
	}
	messages := 0
	for part := range slices.Chunk(events, size) {
		for i := range part {
			c.Take(&part[i])
		}
		c.Advance(part[len(part)-1].At)
		hear()
		if messages++; messages%100 == 0 {
			c = restored(t, DefaultLimits, snapshot(t, c))
		}
	}
	c.End(events[len(events)-1].At)
	hear()
	return ever, end
}

var seeds = flag.Int("seeds", 2, "seeds of each shape of noise in TestPlanted")

// TestPlanted: of sequences that were planted into 100,000 events of noise all are found that came 20 times or more, and of those that are ever told
// of at most 5 % are none, over all seeds of a shape of noise.
func TestPlanted(t *testing.T) {
	const noise = 100_000
	for name, shape := range map[string]func(*story, int, int64){"poisson": (*story).poisson, "bursty": (*story).bursty, "daily": (*story).daily} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, wrong := 0, 0
			for seed := range uint64(*seeds) {
				s := newStory(seed)
				span := 4 * 24 * hour
				shape(s, noise, span)
				s.planted(span)
				ever, end := learn(t, s.sorted(), 100)
				for p := range ever {
					told++
					if !s.true[p] {
						wrong++
						t.Logf("seed %d: %s is told of, and is noise", seed, p)
					}
				}
				for p, must := range s.must {
					if must && !end[p] {
						t.Errorf("seed %d: %s is not found", seed, p)
					}
				}
			}
			t.Logf("%d patterns told of, %d of them noise", told, wrong)
			if wrong*20 > told {
				t.Errorf("%d of %d patterns are noise", wrong, told)
			}
		})
	}
}
