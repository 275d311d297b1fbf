package correlate

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// TestPartiesOfFrames: whom events are of is found out once for each place, and runs find the same as where each event says it alone. The cart moves between
// clusters and names in the middle, so places come and go under one lead.
func TestPartiesOfFrames(t *testing.T) {
	var contexts []*event.Prepared
	for _, name := range []string{"cart", "basket", "cart", "trolley"} {
		encoded := event.AppendKeyValue(nil, 21, "k8s.cluster.name", event.StringValue("of-"+name))
		p, err := event.Prepare(event.AppendKeyValue(encoded, 21, "service.name", event.StringValue(name)))
		if err != nil {
			t.Fatal(err)
		}
		contexts = append(contexts, p)
	}
	lifted := decode.New(decode.Limits{Lift: true})
	var together, alone []replay.Message
	places, events := 0, 0
	for i, m := range shopping() {
		lifted.Reset()
		all, bad := lifted.Decode(nil, decode.Message{Data: m.Data, Time: m.Stored.UnixNano()})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		var whole, single frame.Writer
		whole.Hints = true
		whole.Begin(frame.Header{})
		single.Begin(frame.Header{})
		for k := range all {
			e := &all[k]
			if name, _ := e.Resource("service.name"); name == "cart" {
				e.AppendPrepared(contexts[i/10%len(contexts)])
			}
			if _, ok := e.Place(); ok {
				places++
			}
			if got, want := findParty(e), partyOf(e); got != want {
				t.Fatalf("message %d, event %d: got the party %+v, want %+v", i, k, got, want)
			}
			events++
			whole.Add(e)
			decoded, err := e.ToProto()
			if err != nil {
				t.Fatal(err)
			}
			one, err := event.FromProto(decoded, event.Origin{})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := one.Place(); ok {
				t.Fatal("an event that shares nothing has a place")
			}
			single.Add(&one)
		}
		header := map[string][]string{"Content-Type": {event.ContentTypeFrame}}
		together = append(together, replay.Message{Stored: m.Stored, Header: header, Data: whole.AppendTo(nil)})
		alone = append(alone, replay.Message{Stored: m.Stored, Header: header, Data: single.AppendTo(nil)})
	}
	if places < events*9/10 {
		t.Fatalf("%d of %d events have a place", places, events)
	}
	a, b := replay.New(t, newStage(t, runsOnly)), replay.New(t, newStage(t, runsOnly))
	a.Poison, b.Poison = true, true
	told := 0
	of, ofAlone := a.Run(together), b.Run(alone)
	for i := range of {
		if of[i].Sum != ofAlone[i].Sum {
			t.Fatalf("message %d makes\n%q\nwhere events share their place, and\n%q\nwhere each says it", i, of[i].Text, ofAlone[i].Text)
		}
		told += len(of[i].Produced)
	}
	if !bytes.Equal(a.Snapshot(), b.Snapshot()) {
		t.Error("the states differ")
	}
	if told == 0 {
		t.Error("nothing is told: the story has no fault")
	}
}

// TestPartiesOutliveDetectors: what is remembered of a place serves all detectors, some of which read at once, and none of them stays in memory for it.
func TestPartiesOutliveDetectors(t *testing.T) {
	decoder := decode.New(decode.Limits{Lift: true})
	events := make([][]event.Event, 0, 100)
	for _, m := range shopping()[:100] {
		all, bad := decoder.Decode(nil, decode.Message{Data: m.Data, Time: m.Stored.UnixNano()})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		events = append(events, all)
	}
	var detectors [4]weak.Pointer[detector]
	var all sync.WaitGroup
	for i := range detectors {
		all.Go(func() {
			d := newDetector(&config.CorrelateRuns{MaxSpans: 1000, MaxRoutes: 1000}, voice{}, stage.Settings{Config: &config.StageConfig{}})
			detectors[i] = weak.Make(d)
			for _, of := range events {
				for k := range of {
					d.take(&of[k], time.Unix(0, of[k].Time))
				}
			}
			if services, _, _, _ := d.core.Sizes(); services < 2 {
				t.Errorf("detector %d knows %d services", i, services)
			}
		})
	}
	all.Wait()
	runtime.GC()
	for i := range detectors {
		if detectors[i].Value() != nil {
			t.Errorf("detector %d is still in memory", i)
		}
	}
	remembered := 0
	for _, of := range events {
		for k := range of {
			if p, ok := of[k].Place(); ok && p.Lead.Memo(byPlace{}) != nil {
				remembered++
			}
		}
	}
	if remembered == 0 {
		t.Error("no party is remembered")
	}
}
