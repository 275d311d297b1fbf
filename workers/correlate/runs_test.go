package correlate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// shopper writes the telemetry of requests web -> cart as a pipeline gets it: a log line when it is written, a span when it has ended.
type shopper struct {
	r        *rand.Rand
	at       time.Time
	n        int
	messages []replay.Message
	lines    []string
}

func (s *shopper) write(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *shopper) log(service, span string, line int, severity string) {
	s.n++
	s.write(`{"id":"l%d","source":"s","type":"app.log","time":%q,"severity":%q,"body":"line %d","log":{"logger":"Main"},"attributes":{"code.line.number":%d},`+
		`"traceid":"%032x","spanid":%q,"entity":{"kind":"Pod","namespace":"shop","name":"%s-7d4b9c6f5d-x2x4z"},"resource":{"service.name":%q}}`,
		s.n, s.at.Format(time.RFC3339Nano), severity, line, line, 1, span, service, service)
}

func (s *shopper) span(service, kind, span, parent string, took time.Duration, more string) {
	s.n++
	s.write(`{"id":"s%d","source":"s","type":"app.request","time":%q,"span":{"name":"/%s","kind":%q,"durationNs":%d%s},`+
		`"traceid":"%032x","spanid":%q,"parentspanid":%q,"entity":{"kind":"Pod","namespace":"shop","name":"%s-7d4b9c6f5d-x2x4z"},"resource":{"service.name":%q}}`,
		s.n, s.at.Add(-took).Format(time.RFC3339Nano), service, kind, took.Nanoseconds(), more, 1, span, parent, service, service)
}

// request has the web call the cart, which logs its last line unless it is broken.
func (s *shopper) request(broken bool) {
	ids := [3]string{}
	for i := range ids {
		s.n++
		ids[i] = fmt.Sprintf("%016x", s.n)
	}
	s.log("web", ids[0], 1, "INFO")
	s.log("cart", ids[2], 1, "INFO")
	took := time.Duration(5+s.r.IntN(5)) * time.Millisecond
	s.at = s.at.Add(took)
	if broken {
		s.log("web", ids[0], 9, "WARN")
	} else {
		s.log("cart", ids[2], 2, "INFO")
	}
	s.span("cart", "server", ids[2], ids[1], took, "")
	s.at = s.at.Add(time.Millisecond)
	s.span("web", "client", ids[1], ids[0], took+time.Millisecond, `,"peerService":"cart"`)
	s.span("web", "server", ids[0], "", took+2*time.Millisecond, "")
}

// run sends requests for a time, four of them in a message.
func (s *shopper) run(d time.Duration, broken bool) {
	for end := s.at.Add(d); s.at.Before(end); {
		for range 4 {
			s.request(broken)
			s.at = s.at.Add(time.Duration(300+s.r.IntN(200)) * time.Millisecond)
		}
		s.messages = append(s.messages, replay.Message{Stored: s.at, Data: []byte(strings.Join(s.lines, "\n"))})
		s.lines = nil
	}
}

func newShopper() *shopper {
	return &shopper{r: rand.New(rand.NewPCG(5, 5)), at: start}
}

// shopping is a story of the web and its cart, which breaks for a minute and a half.
func shopping() []replay.Message {
	s := newShopper()
	s.run(6*time.Minute, false)
	s.run(90*time.Second, true)
	s.run(9*time.Minute, false)
	return s.messages
}

var runsOnly = config.Correlate{Runs: &config.CorrelateRuns{}}

// TestRunsInsight: an insight names the workload of the service that broke, with what speaks for it, and is revised and closed under one id.
func TestRunsInsight(t *testing.T) {
	steps := replay.New(t, newStage(t, runsOnly)).Run(shopping())
	var told []*eventv1.Event
	for _, s := range steps {
		for _, p := range s.Produced {
			if p.Port == stage.Insights {
				told = append(told, p.Event)
			}
		}
	}
	if len(told) < 3 {
		t.Fatalf("%d insights", len(told))
	}
	for i, e := range told {
		want := "updated"
		switch i {
		case 0:
			want = "open"
		case len(told) - 1:
			want = "closed"
		}
		in := e.GetInsight()
		if in.GetStatus() != want || in.GetRevision() != uint32(i+1) || e.GetId() != told[0].GetId() {
			t.Errorf("insight %d is %s, revision %d, id %s", i, in.GetStatus(), in.GetRevision(), e.GetId())
		}
		if root := in.GetRootCause(); root.GetKind() != "Deployment" || root.GetName() != "cart" || root.GetNamespace() != "shop" {
			t.Errorf("the root is %v", root)
		}
	}
	in := told[0].GetInsight()
	const text = "missing: Main#2 in 0 of"
	if c := in.GetCandidates(); len(c) == 0 || c[0].GetEntity().GetName() != "cart" || !strings.HasPrefix(c[0].GetText(), text) || c[0].GetWeight() < 14 ||
		c[0].GetConfidence() != in.GetConfidence() || in.GetConfidence() < 0.5 {
		t.Errorf("candidates: %v", c)
	}
	if x := in.GetEvidence(); len(x) == 0 || x[0].GetKind() != "log" || x[0].GetRelation() != "root" || x[0].GetWeight() <= 0 || !strings.HasPrefix(x[0].GetText(), text) {
		t.Errorf("evidence: %v", x)
	}
	if !strings.HasPrefix(in.GetTitle(), "cart is the likely cause: "+text) {
		t.Errorf("title: %s", in.GetTitle())
	}
}

// TestRunsAfterATakeover: a worker that takes over without a snapshot goes on with the incident under the id that people know, and
// closes one of which the replay shows nothing.
func TestRunsAfterATakeover(t *testing.T) {
	messages := shopping()
	steps := replay.New(t, newStage(t, runsOnly)).Run(messages)
	first := -1
	for i, s := range steps {
		if first < 0 && len(s.Produced) > 0 {
			first = i
		}
	}
	if first < 0 {
		t.Fatal("nothing was told")
	}
	for _, at := range []int{first + 1, first + 5, first + 10} {
		rest := replay.Rebuild(t, newStage(t, runsOnly), messages, at, steps).Run(messages[at:])
		if d := replay.Diff(steps[at:], rest, at); d != "" {
			t.Error(d)
		}
	}
	// Another worker that has seen nothing of what led to it.
	s := newShopper()
	s.at = s.at.Add(2 * time.Hour)
	s.run(5*time.Minute, false)
	all := slices.Concat(messages[:first+5], s.messages)
	before := replay.New(t, newStage(t, runsOnly)).Run(all[:first+5])
	after := replay.Recall(t, newStage(t, runsOnly), all, first+5, before).Run(all[first+5:])
	closed := 0
	for id, e := range lastRevision(append(before, after...)) {
		if e.GetInsight().GetStatus() == "closed" {
			closed++
		} else {
			t.Errorf("insight %s stays %s", id, e.GetInsight().GetStatus())
		}
	}
	if closed != 1 {
		t.Errorf("%d insights are closed, want 1", closed)
	}
}

// TestRunsWhileNothingComes: live, an incident ends by stream time where requests stop.
func TestRunsWhileNothingComes(t *testing.T) {
	messages := shopping()
	at := 0
	for i, m := range messages {
		if m.Stored.Before(start.Add(7 * time.Minute)) {
			at = i
		}
	}
	in := replay.New(t, newStage(t, runsOnly))
	steps := in.Run(messages[:at])
	s := newShopper()
	s.at = messages[at].Stored.Add(12 * time.Minute)
	s.run(10*time.Second, false)
	steps = append(steps, in.Run(s.messages[:1])...)
	for id, e := range lastRevision(steps) {
		if e.GetInsight().GetStatus() != "closed" {
			t.Errorf("insight %s is %s", id, e.GetInsight().GetStatus())
		}
	}
	if len(lastRevision(steps)) != 1 {
		t.Errorf("%d insights", len(lastRevision(steps)))
	}
}

// TestRunsAlone: whoever does not ask for runs decodes marked events only at a takeover.
func TestRunsAlone(t *testing.T) {
	if !newStage(t, realtimeOnly).OnlyMarked() {
		t.Error("without runs, all events are decoded at a takeover")
	}
	if newStage(t, runsOnly).OnlyMarked() {
		t.Error("with runs, only marked events are decoded at a takeover")
	}
	if h := newStage(t, runsOnly).Horizon(); h != 65*time.Minute {
		t.Errorf("horizon %s", h)
	}
}

// BenchmarkProcessRuns is of the spans and log lines of a shop, 10 each request, as correlate reads them out of events.
func BenchmarkProcessRuns(b *testing.B) {
	for name, c := range map[string]config.Correlate{"with runs": runsOnly, "without": realtimeOnly} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, c)
			decoder, n := decode.New(decode.Limits{}), 0
			messages := shopping()
			for b.Loop() {
				b.StopTimer()
				m := messages[n%len(messages)]
				n++
				decoder.Reset()
				in := &stage.Batch{Now: m.Stored}
				in.Events, _ = decoder.Decode(nil, decode.Message{Data: m.Data})
				in.Reset(1)
				b.StartTimer()
				if err := s.Process(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*32), "ns/event")
		})
	}
}
