package event_test

import (
	"strings"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// TestPlace: events that share all that says where they come from have equal places, others have other ones or none.
func TestPlace(t *testing.T) {
	pod := prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.cluster.name", "a")}, Related: []*eventv1.EntityRef{{Kind: "Deployment", Name: "cart", Role: "workload"}}})
	other := prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.cluster.name", "b")}})
	third := prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("zone", "c")}})
	impact := prepared(t, &eventv1.Event{Impact: &eventv1.Impact{Score: 0.5}})
	half := prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.annotation.a", strings.Repeat("a", 4100))}})
	share := func(of ...*event.Prepared) func(*event.Event) {
		return func(e *event.Event) {
			for _, p := range of {
				e.AppendPrepared(p)
			}
		}
	}
	tests := map[string]struct {
		change func(*event.Event)
		ok     bool
		as     string // the row with the same place
	}{
		"lead alone":          {share(), true, "lead alone"},
		"severity":            {func(e *event.Event) { e.SetSeverity(17, "") }, true, "lead alone"},
		"attribute":           {func(e *event.Event) { e.AddAttribute("a", event.StringValue("b")) }, true, "lead alone"},
		"impact":              {share(impact), true, "lead alone"},
		"pod":                 {share(pod), true, "pod"},
		"pod and impact":      {share(impact, pod), true, "pod"},
		"other":               {share(other), true, "other"},
		"pod and other":       {share(pod, other), true, "pod and other"},
		"other and pod":       {share(other, pod), true, "other and pod"},
		"more than there may": {share(pod, other, third), false, ""},
		"half of the bytes":   {share(half), true, "half of the bytes"},
		"too many bytes":      {share(half, half), false, ""},
		"resource":            {func(e *event.Event) { e.AddResource("a", "b") }, false, ""},
		"related":             {func(e *event.Event) { e.AddRelated(event.EntityRef{Kind: "Node", Name: "n"}) }, false, ""},
		"entity":              {func(e *event.Event) { e.SetEntity(event.EntityRef{Kind: "Node", Name: "n"}) }, false, ""},
		"pod, then resource":  {func(e *event.Event) { e.AppendPrepared(pod); e.AddResource("a", "b") }, false, ""},
		"pod without a key":   {func(e *event.Event) { e.AppendPrepared(pod); e.Unset(event.ResourceMap, "k8s.cluster.name") }, false, ""},
	}
	names, all := []string{}, []*eventv1.Event{}
	for name := range tests {
		names, all = append(names, name), append(all, ledEvent(1))
	}
	var w frame.Writer
	d := decode.New(decode.Limits{Lift: true})
	first, _ := d.Decode(nil, decode.Message{Data: encodedFrame(t, &w, []*eventv1.Event{ledEvent(1), ledEvent(1)}), Header: frameHeader})
	if _, ok := first[0].Place(); ok {
		t.Error("the first event of a source has a place")
	}
	events, bad := d.Decode(nil, decode.Message{Data: encodedFrame(t, &w, all), Header: frameHeader})
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	w.Hints = true
	w.Begin(frame.Header{})
	for i := range events {
		tests[names[i]].change(&events[i])
		w.Add(&events[i])
	}
	again, bad := decode.New(decode.Limits{Hints: true}).Decode(nil, decode.Message{Data: w.AppendTo(nil), Header: frameHeader})
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	for what, events := range map[string][]event.Event{"changed": events, "read again": again} {
		places := map[string]event.Place{}
		for i, name := range names {
			p, ok := events[i].Place()
			if ok != tests[name].ok {
				t.Errorf("%s, %s: a place: %t", what, name, ok)
			}
			places[name] = p
		}
		for _, a := range names {
			for _, b := range names {
				if tests[a].ok && tests[b].ok && (places[a] == places[b]) != (tests[a].as == tests[b].as) {
					t.Errorf("%s: the places of %q and %q are equal: %t", what, a, b, places[a] == places[b])
				}
			}
		}
	}
}
