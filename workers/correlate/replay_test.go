package correlate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

// TestReplay drops instances and rebuilds them: from there on they decide as if nothing had
// happened, but for incidents that had gone on for longer than what is replayed.
func TestReplay(t *testing.T) {
	var messages []replay.Message
	for n := range 2 {
		end := start.Add(time.Duration(n) * 25 * time.Minute)
		messages = append(messages, replay.Story(t, generator.Options{Seed: uint64(n), Events: 6000, End: end}, 30*time.Second)...)
	}
	const within, idle = config.Duration(30 * time.Second), config.Duration(time.Minute)
	for name, c := range map[string]config.Correlate{
		"realtime":         {Realtime: &config.CorrelateRealtime{}},
		"long incidents":   {Realtime: &config.CorrelateRealtime{Within: within, IncidentIdle: idle}},
		"window":           {Window: &config.CorrelateWindow{MinEvents: 1, MaxEvents: 4}},
		"both, not enough": {Realtime: &config.CorrelateRealtime{MaxEntities: 200}, Window: &config.CorrelateWindow{Size: idle}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 7))
			var drops []int
			for range 12 {
				drops = append(drops, 1+r.IntN(len(messages)-1))
			}
			slices.Sort(drops)
			s := newStage(t, c)
			whole, long := replay.New(t, s), map[int]int{}
			var all []replay.Step
			for _, at := range drops {
				all = append(all, whole.Run(messages[len(all):at])...)
				long[at] = longer(s, messages[at].Stored)
			}
			all = append(all, whole.Run(messages[len(all):])...)
			if d := replay.Diff(all, replay.New(t, newStage(t, c)).Run(messages), 0); d != "" {
				t.Fatalf("the same input again: %s", d)
			}
			for _, at := range drops {
				want := all[at:]
				got := replay.Rebuild(t, newStage(t, c), messages, at, all).Run(messages[at:])
				if d := replay.Diff(want, got, at); d != "" && long[at] == 0 {
					t.Errorf("rebuilt before message %d: %s", at, d)
				}
				others, known := insightsOf(got), insightsOf(all)
				maps.DeleteFunc(others, func(id string, _ bool) bool { return known[id] })
				if len(others) > 0 {
					t.Errorf("rebuilt before message %d: insights under other ids: %v", at, others)
				}
				for id, w := range lastRevision(all) {
					if g := lastRevision(append(all[:at:at], got...))[id]; g.GetInsight().GetStatus() != w.GetInsight().GetStatus() {
						t.Errorf("rebuilt before message %d: insight %s is %s at the end, want %s", at, id, g.GetInsight().GetStatus(), w.GetInsight().GetStatus())
					}
				}
			}
		})
	}
}

// TestReplayOfPartitions is TestReplay of windows of several partitions, one of which is always behind the others, another
// by more than a window.
func TestReplayOfPartitions(t *testing.T) {
	c := config.Correlate{Window: &config.CorrelateWindow{MinEvents: 1, MaxEvents: 4}}
	var messages []replay.Message
	for i, m := range replay.Story(t, generator.Options{Seed: 3, Events: 6000, End: start}, 30*time.Second) {
		m.Partition = i % 4
		m.Stored = m.Stored.Add([]time.Duration{0, 0, 3 * time.Second, 25 * time.Second}[m.Partition])
		messages = append(messages, m)
	}
	slices.SortStableFunc(messages, func(a, b replay.Message) int { return a.Stored.Compare(b.Stored) })
	all := replay.New(t, newStageWith(t, 4, c)).Run(messages)
	groups := 0
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		at := 1 + r.IntN(len(messages)-1)
		got := replay.Rebuild(t, newStageWith(t, 4, c), messages, at, all).Run(messages[at:])
		if d := replay.Diff(all[at:], got, at); d != "" {
			t.Errorf("rebuilt before message %d: %s", at, d)
		}
		for _, s := range got {
			groups += len(s.Produced)
		}
	}
	if groups == 0 {
		t.Error("no groups")
	}
}

// longer counts the open incidents that a rebuilt stage may see begin later than they did.
func longer(s *correlator, now time.Time) int {
	long := map[*incident]bool{}
	if s.realtime == nil {
		return 0
	}
	for _, key := range s.realtime.open.Keys() {
		inc, _ := s.realtime.open.Peek(key)
		if inc = inc.find(); now.UnixNano()-inc.first > int64(s.Horizon())-s.realtime.memory.span {
			long[inc] = true
		}
	}
	return len(long)
}

func insightsOf(steps []replay.Step) map[string]bool {
	ids := map[string]bool{}
	for _, s := range steps {
		for _, p := range s.Produced {
			if p.Port == stage.Insights {
				ids[p.Event.GetId()] = true
			}
		}
	}
	return ids
}

// TestLongIncident: a change, then a crash loop of 100 minutes, and a worker takes over in the middle. The replay shows
// neither the change nor how the loop began. The next worker goes on under the same id with what people know, and closes it
// when the pod is well again.
func TestLongIncident(t *testing.T) {
	var messages []replay.Message
	add := func(e *eventv1.Event) {
		messages = append(messages, replay.Message{Stored: time.Unix(0, int64(e.GetTimeUnixNano())), Data: cloudevent.AppendProto(nil, e)})
	}
	add(on(0, "k8s.deployment.config_changed", "d/pay"))
	for i := range 40 {
		add(on(time.Minute+time.Duration(i)*150*time.Second, "k8s.pod.crash_loop_back_off", podA))
	}
	add(on(101*time.Minute, "k8s.pod.ready", podA))
	add(on(3*time.Hour, "app.log", cart))
	all := replay.New(t, newStage(t, realtimeOnly)).Run(messages)
	if n := len(insightsOf(all)); n != 1 {
		t.Fatalf("%d insights without a takeover, want 1", n)
	}
	for at := 1; at < len(messages); at++ {
		want, got := lastRevision(all), lastRevision(append(all[:at:at], replay.Rebuild(t, newStage(t, realtimeOnly), messages, at, all).Run(messages[at:])...))
		if len(got) != 1 {
			t.Errorf("taken over before message %d: %d insights, want 1", at, len(got))
			continue
		}
		for id, w := range want {
			g := got[id]
			if g.GetInsight().GetTitle() != w.GetInsight().GetTitle() || g.GetInsight().GetStatus() != "closed" || g.GetInsight().GetRevision() != w.GetInsight().GetRevision() ||
				g.GetInsight().GetFirstSeenUnixNano() != w.GetInsight().GetFirstSeenUnixNano() || !strings.Contains(g.GetInsight().GetSummary(), "Mended") {
				t.Errorf("taken over before message %d:\n%v, want\n%v", at, g, w)
			}
		}
	}
}

// lastRevision is the last that was told of each insight.
func lastRevision(steps []replay.Step) map[string]*eventv1.Event {
	last := map[string]*eventv1.Event{}
	for _, s := range steps {
		for _, p := range s.Produced {
			if p.Port == stage.Insights {
				last[p.Event.GetId()] = p.Event
			}
		}
	}
	return last
}

// TestWindowOfAWrongClock: an event from hours ahead is in a window as long as others are, so that a
// rebuilt stage knows of it.
func TestWindowOfAWrongClock(t *testing.T) {
	c := config.Correlate{Window: &config.CorrelateWindow{MinEvents: 1}}
	var messages []replay.Message
	add := func(stored time.Duration, e *eventv1.Event) {
		messages = append(messages, replay.Message{Stored: start.Add(stored), Data: cloudevent.AppendProto(nil, e)})
	}
	for i := range 400 {
		after := time.Duration(i) * time.Second
		add(after, on(after, "k8s.pod.crash_loop_back_off", podA))
		if i == 5 {
			add(after, on(after+2*time.Hour, "k8s.pod.crash_loop_back_off", cart))
		}
	}
	add(900*time.Second, on(900*time.Second, "k8s.pod.crash_loop_back_off", podA))
	const at = 300
	want := replay.New(t, newStage(t, c)).Run(messages)
	if d := replay.Diff(want[at:], replay.Rebuild(t, newStage(t, c), messages, at, want).Run(messages[at:]), at); d != "" {
		t.Error(d)
	}
	if !slices.ContainsFunc(want[:30], func(s replay.Step) bool {
		return slices.ContainsFunc(s.Produced, func(p stage.Produced) bool { return p.Event.GetEntity().GetName() == "cart" })
	}) {
		t.Error("no group of the event from hours ahead")
	}
}

// TestReplayWithoutRoom: what an entity was remembered with and is too old by now takes no room from
// others, of which a rebuilt stage knows as much.
func TestReplayWithoutRoom(t *testing.T) {
	c := config.Correlate{Realtime: &config.CorrelateRealtime{MaxEntities: 27}}
	var messages []replay.Message
	add := func(e *eventv1.Event) {
		messages = append(messages, replay.Message{Stored: time.Unix(0, int64(e.GetTimeUnixNano())), Data: cloudevent.AppendProto(nil, e)})
	}
	for i := range ringSize {
		add(on(time.Duration(i)*time.Second, "app.log", "x"))
	}
	for i := range 60 {
		add(on(time.Duration(i+1)*time.Minute, "k8s.pod.restarted", "x"))
	}
	at := len(messages)
	add(on(time.Hour+time.Second, "k8s.deployment.config_changed", "d/y"))
	add(on(time.Hour+2*time.Second, "k8s.pod.restarted", "x"))
	for i := range 4 {
		add(on(time.Hour+time.Duration(i+3)*time.Second, "k8s.pod.restarted", fmt.Sprint("w", i)))
	}
	add(on(time.Hour+20*time.Second, "k8s.pod.crash_loop_back_off", "y"))
	want := replay.New(t, newStage(t, c)).Run(messages)[at:]
	if d := replay.Diff(want, replay.Rebuild(t, newStage(t, c), messages, at, nil).Run(messages[at:]), at); d != "" {
		t.Error(d)
	}
}

// recoveries are what is held, mended and falls ill again.
func recoveries() (messages []replay.Message) {
	r := rand.New(rand.NewPCG(3, 3))
	var events []*eventv1.Event
	for app := range 4 {
		work := of(fmt.Sprint("Deployment/app", app))
		for at := 10 * r.Float64(); at < 4000; {
			pod := fmt.Sprint("Pod/app", app, "-", r.IntN(3))
			broken := []string{"k8s.pod.crash_loop_back_off", "k8s.pod.oom_killed", "k8s.pod.not_ready", "k8s.pod.unschedulable", "k8s.pod.image_pull_back_off"}[r.IntN(5)]
			events = append(events, happens(at, broken, pod, work))
			at += 5 + 90*r.Float64()*r.Float64()
			well := []string{"k8s.pod.ready", "k8s.pod.ready", "k8s.pod.deleted"}[r.IntN(3)]
			events = append(events, happens(at, well, pod, work))
			if r.IntN(4) == 0 {
				events = append(events, happens(at+1, "k8s.deployment.rollout_complete", fmt.Sprint("Deployment/app", app)))
			}
			at += 5 + 200*r.Float64()*r.Float64()
		}
	}
	slices.SortStableFunc(events, func(a, b *eventv1.Event) int { return int(int64(a.GetTimeUnixNano()) - int64(b.GetTimeUnixNano())) })
	for _, e := range events {
		messages = append(messages, replay.Message{Stored: time.Unix(0, int64(e.GetTimeUnixNano())), Data: cloudevent.AppendProto(nil, e)})
	}
	return messages
}

// TestReplayOfRecoveries: what is held, mended and falls ill again is the same after a takeover.
func TestReplayOfRecoveries(t *testing.T) {
	messages := recoveries()
	s := newStage(t, realtimeOnly)
	whole, long := replay.New(t, s), map[int]int{}
	var all []replay.Step
	for at := range messages {
		long[at] = longer(s, messages[at].Stored)
		all = append(all, whole.Run(messages[at:at+1])...)
	}
	compared := 0
	for at := 1; at < len(messages); at += 7 {
		if long[at] > 0 {
			continue
		}
		compared++
		if d := replay.Diff(all[at:], replay.Rebuild(t, newStage(t, realtimeOnly), messages, at, all).Run(messages[at:]), at); d != "" {
			t.Fatalf("rebuilt before message %d of %d: %s", at, len(messages), d)
		}
	}
	if n := len(insightsOf(all)); n < 20 || compared < 10 {
		t.Errorf("%d incidents, %d takeovers compared: too few to tell", n, compared)
	}
}
