package runs

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"millrace.dev/millrace/workers/stage/state"
)

// shop makes the telemetry of requests gateway -> cart -> stock, a few a second.
type shop struct {
	t    testing.TB
	c    *Core
	r    *rand.Rand
	at   int64 // event time, Unix nanoseconds
	next uint64
	news []*Finding
	// each is called after each request.
	each func()
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()

const (
	second      = int64(time.Second)
	millisecond = int64(time.Millisecond)
)

func newShop(t testing.TB, l Limits) *shop {
	t.Helper()
	c := New(l, testName)
	c.Advance(begin)
	return &shop{t: t, c: c, r: rand.New(rand.NewPCG(1, 2)), at: begin, next: 1}
}

func testName(lead *Service, opened int64, alarm string) string {
	return fmt.Sprint(lead.Name, "@", (opened-begin)/second, alarm)
}

func (s *shop) service(name string) *Service {
	return s.c.Service(ServiceKey{Cluster: "c", Namespace: "shop", Name: name})
}

func (s *shop) id() uint64 { s.next++; return s.next }

// request is what one request does.
type request struct {
	// silent services log nothing, mute ones log the first line alone.
	silent, mute map[string]bool
	// extra is a line that a service logs in addition.
	extra map[string]string
	// own is how long each service takes by itself, gap how long the way to it takes. 0 = as ever.
	own, gap map[string]int64
}

func (s *shop) log(span uint64, service string, line int64, level byte, text string) {
	s.c.Advance(s.at)
	s.c.Log(&Log{Span: span, Service: s.service(service), Logger: service + ".Main", Line: line, Level: level, Text: text, At: s.at})
}

// handle has a service handle a request, of which below is what it calls, and returns how long that took.
func (s *shop) handle(q *request, parent uint64, service string, below ...string) (took int64) {
	id := s.id()
	if !q.silent[service] {
		s.log(id, service, 10, 0, "begin")
	}
	own := int64(5+s.r.IntN(5)) * millisecond
	if q.own[service] != 0 {
		own = q.own[service]
	}
	s.at += own
	took = own
	if len(below) > 0 {
		client := s.id()
		inside := s.handle(q, client, below[0], below[1:]...)
		gap := int64(1+s.r.IntN(2)) * millisecond
		if q.gap[below[0]] != 0 {
			gap = q.gap[below[0]]
		}
		s.at += gap
		took += inside + gap
		s.c.Advance(s.at)
		s.c.Span(&Span{ID: client, Parent: id, Kind: Client, Service: s.service(service), Peer: below[0], End: s.at, Duration: inside + gap})
	}
	if !q.silent[service] && !q.mute[service] {
		s.log(id, service, 20, 0, "half")
		s.log(id, service, 30, 0, "done")
	}
	if text := q.extra[service]; text != "" {
		s.log(id, service, 99, 'E', text)
	}
	s.c.Advance(s.at)
	s.c.Span(&Span{ID: id, Parent: parent, Kind: Server, Service: s.service(service), Route: "/" + service, End: s.at, Duration: took})
	return took
}

// run sends requests for a time.
func (s *shop) run(d time.Duration, q request) {
	for end := s.at + int64(d); s.at < end; {
		s.handle(&q, 0, "gateway", "cart", "stock")
		s.at += int64(200+s.r.IntN(200)) * millisecond
		s.c.Advance(s.at)
		s.news = append(s.news, s.c.News()...)
		if s.each != nil {
			s.each()
		}
	}
}

// idle lets time pass without a request.
func (s *shop) idle(d time.Duration) {
	s.at += int64(d)
	s.c.Advance(s.at)
	s.news = append(s.news, s.c.News()...)
}

// lead is the root of the last finding; empty = there was none.
func (s *shop) lead() string {
	if len(s.news) == 0 {
		return ""
	}
	return s.news[len(s.news)-1].Candidates[0].Service.Name
}

func only(service string) map[string]bool { return map[string]bool{service: true} }

// fingerprint is everything in a list of findings.
func fingerprint(news []*Finding) (lines []string) {
	for _, f := range news {
		line := fmt.Sprint(f.ID, f.Status, f.Revision, f.Opened, f.At, f.Last)
		for i := range f.Candidates {
			c := &f.Candidates[i]
			line += fmt.Sprint(" ", c.Service.Name, c.Confidence, c.Weight, c.Evidence)
		}
		lines = append(lines, line)
	}
	return lines
}

var testFormat = state.Format{Version: 1}

func snapshotOf(t testing.TB, c *Core) []byte {
	t.Helper()
	b, err := state.Write(nil, testFormat, c.State)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheSameAfterRestores: a state that is written and read between any two requests makes the same findings and the same state.
func TestTheSameAfterRestores(t *testing.T) {
	play := func(moves bool) (*shop, []byte) {
		s := newShop(t, DefaultLimits)
		n := 0
		s.each = func() {
			if n++; !moves || n%7 != 0 {
				return
			}
			next := New(DefaultLimits, testName)
			if err := state.Read(snapshotOf(t, s.c), testFormat, next.State); err != nil {
				t.Fatal(err)
			}
			s.c = next
		}
		s.run(4*time.Minute, request{})
		s.run(time.Minute, request{mute: only("stock"), gap: map[string]int64{"cart": 200 * millisecond}})
		s.run(6*time.Minute, request{extra: map[string]string{"gateway": "no answer of cart"}})
		return s, snapshotOf(t, s.c)
	}
	want, wantState := play(false)
	got, gotState := play(true)
	if a, b := fingerprint(want.news), fingerprint(got.news); !reflect.DeepEqual(a, b) || len(a) < 3 {
		t.Errorf("with restores:\n%q\nwithout:\n%q", b, a)
	}
	if string(wantState) != string(gotState) {
		t.Error("the states at the end differ")
	}
}
