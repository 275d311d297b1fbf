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
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

var patternsOnly = config.Correlate{Patterns: &config.CorrelatePatterns{}}

// lessons is a story in which a full disk is followed by an eviction of the same workload, and a scheduled pod is ready soon, but for the last times.
func lessons() (messages []replay.Message) {
	r := rand.New(rand.NewPCG(6, 6))
	var events []*eventv1.Event
	add := func(at float64, what string, app int, mend ...func(*eventv1.Event)) {
		e := happens(at, what, fmt.Sprint("Pod/app", app, "-", len(events)), append(mend, of(fmt.Sprint("Deployment/app", app)))...)
		e.Id = fmt.Sprint("e", len(events))
		events = append(events, e)
	}
	for i := range 60 {
		at := 1200 + 1200*float64(i) + 60*r.Float64()
		add(at, "k8s.event", i%5, reason("FreeDiskSpaceFailed", "disk is full"))
		add(at+5+30*r.Float64(), "k8s.pod.evicted", i%5, func(e *eventv1.Event) { e.SeverityNumber = 17 })
		if at += 500; i < 58 {
			add(at+10*r.Float64(), "k8s.pod.ready", 5+i%5)
		}
		add(at, "k8s.pod.scheduled", 5+i%5)
	}
	for range 3000 {
		add(74_000*r.Float64(), fmt.Sprint("k8s.noise", r.IntN(12)), r.IntN(10))
	}
	slices.SortStableFunc(events, func(a, b *eventv1.Event) int { return int(int64(a.GetTimeUnixNano()) - int64(b.GetTimeUnixNano())) })
	for _, e := range events {
		messages = append(messages, replay.Message{Stored: time.Unix(0, int64(e.GetTimeUnixNano())), Data: cloudevent.AppendProto(nil, e)})
	}
	return messages
}

func producedOn(steps []replay.Step, port stage.Ports) (events []*eventv1.Event) {
	for _, s := range steps {
		for _, p := range s.Produced {
			if p.Port == port {
				events = append(events, p.Event)
			}
		}
	}
	return events
}

// TestPatterns: what was learnt leaves on out with its numbers and examples, and insights tell what is about to come, and what did not.
func TestPatterns(t *testing.T) {
	steps := replay.New(t, newStage(t, patternsOnly)).Run(lessons())
	var found []string
	for _, e := range producedOn(steps, stage.Out) {
		if e.GetType() != TypePattern {
			t.Fatalf("%s on out", e.GetType())
		}
		if !slices.Contains(found, e.GetSubject()) {
			found = append(found, e.GetSubject())
		}
		if n := len(e.GetCorrelation().GetLinks()); n == 0 || n%2 != 0 || e.GetCorrelation().GetCorrelationId() == "" {
			t.Errorf("%s has %d links", e.GetBody(), n)
		}
	}
	slices.Sort(found)
	want := []string{"Pod k8s.event FreeDiskSpaceFailed -> Pod k8s.pod.evicted", "Pod k8s.pod.scheduled -> Pod k8s.pod.ready"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	begins, missing := map[string]string{}, map[string]string{}
	var last []*eventv1.Event
	for _, e := range producedOn(steps, stage.Insights) {
		in := e.GetInsight()
		of := begins
		if in.GetRuleId() == "pattern-missing" {
			of = missing
		}
		of[e.GetId()] += in.GetStatus() + " "
		last = append(last, e)
	}
	for id, life := range begins {
		if life != "open closed " && life != "open " {
			t.Errorf("insight %s was %s", id, life)
		}
	}
	if len(begins) < 10 || len(missing) == 0 {
		t.Fatalf("%d insights about what is about to come, %d about what is missing", len(begins), len(missing))
	}
	i := slices.IndexFunc(last, func(e *eventv1.Event) bool { return e.GetInsight().GetRuleId() == "pattern-missing" })
	for _, part := range []string{"shop/app", ": Pod k8s.pod.ready has not come within 2m0s after Pod k8s.pod.scheduled, which it follows in "} {
		if !strings.Contains(last[i].GetBody(), part) {
			t.Errorf("%q does not say %q", last[i].GetBody(), part)
		}
	}
	if ref := last[i].GetEntity(); ref.GetKind() != "Workload" || ref.GetNamespace() != "shop" || last[i].GetSeverityNumber() != 13 {
		t.Errorf("the insight is about %v, severity %d", ref, last[i].GetSeverityNumber())
	}
}

// TestPatternsAfterATakeover: without a snapshot nothing is known of what was learnt, and what is open is closed.
func TestPatternsAfterATakeover(t *testing.T) {
	messages := lessons()
	all := replay.New(t, newStage(t, patternsOnly)).Run(messages)
	at := slices.IndexFunc(all, func(s replay.Step) bool {
		return slices.ContainsFunc(s.Produced, func(p stage.Produced) bool { return p.Event.GetInsight().GetStatus() == "open" })
	}) + 1
	opened := producedOn(all[at-1:at], stage.Insights)
	got := producedOn(replay.Rebuild(t, newStage(t, patternsOnly), messages, at, all).Run(messages[at:at+40]), stage.Insights)
	if len(got) != 1 || got[0].GetId() != opened[len(opened)-1].GetId() || got[0].GetInsight().GetStatus() != "closed" || got[0].GetInsight().GetRevision() != 2 {
		t.Errorf("open were %v, then came %v", opened, got)
	}
}

// BenchmarkUnmarked is of events that belong to no kind.
func BenchmarkUnmarked(b *testing.B) {
	for name, c := range map[string]config.Correlate{"window": {Window: &config.CorrelateWindow{}}, "window and patterns": {Window: &config.CorrelateWindow{}, Patterns: &config.CorrelatePatterns{}}} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, c)
			var events []*eventv1.Event
			for i := range 500 {
				events = append(events, on(time.Duration(i)*time.Millisecond, "app.request", "a", func(e *eventv1.Event) { e.SeverityNumber = 9 }))
			}
			in := batch(b, events...)
			for b.Loop() {
				in.Reset(1)
				if err := s.Process(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
		})
	}
}
