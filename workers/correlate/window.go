package correlate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

const maxGroupIDs = 50

// windows groups notable events by workload into tumbling windows of event time.
type windows struct {
	size, lateness       int64
	minEvents, maxEvents int
	groups               map[groupKey]*group
	watermark            int64 // no window that ends at or before it is open
	latest               int64 // event time
	seen                 time.Time
	late                 prometheus.Counter
}

type groupKey struct {
	start   int64
	subject string
	part    int // a full group is closed early; the next part begins
}

type group struct {
	key    groupKey
	events []*observation
}

func newWindows(c *config.CorrelateWindow, m prometheus.Registerer) *windows {
	return &windows{
		size: int64(c.Size), lateness: int64(c.Lateness), minEvents: c.MinEvents, maxEvents: c.MaxEvents, groups: map[groupKey]*group{},
		late: counter(m, "millrace_correlate_late_events_total", "Notable events that came after their window was closed."),
	}
}

// take puts o into its window. now is the clock, for windows that no later event closes.
func (w *windows) take(o *observation, now time.Time) (full *group) {
	w.seen = now
	w.latest = max(w.latest, o.time)
	start := o.time - o.time%w.size
	if start+w.size <= w.watermark {
		w.late.Inc()
		return nil
	}
	subject := o.subject.GetKind() + "/" + o.subject.GetNamespace() + "/" + o.subject.GetName()
	key := groupKey{start: start, subject: subject}
	for {
		g, ok := w.groups[key]
		if !ok {
			g = &group{key: key}
			w.groups[key] = g
		}
		if len(g.events) < w.maxEvents {
			g.events = append(g.events, o)
			if len(g.events) == w.maxEvents {
				return g
			}
			return nil
		}
		key.part++
	}
}

// close removes and returns the groups of windows that are over: the watermark has passed
// them, nothing came for as long as they would wait by the clock, or all is over.
func (w *windows) close(now time.Time, all bool) []*group {
	w.watermark = max(w.watermark, w.latest-w.lateness)
	if !w.seen.IsZero() && now.Sub(w.seen) > time.Duration(w.size+w.lateness) {
		w.watermark = max(w.watermark, w.latest-w.latest%w.size+w.size)
	}
	var out []*group
	for key, g := range w.groups {
		if all || key.start+w.size <= w.watermark {
			delete(w.groups, key)
			if len(g.events) >= w.minEvents && len(g.events) < w.maxEvents { // full ones went already
				out = append(out, g)
			}
		}
	}
	slices.SortFunc(out, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.start, b.key.start), cmp.Compare(a.key.subject, b.key.subject), cmp.Compare(a.key.part, b.key.part))
	})
	return out
}

// event describes the group.
func (g *group) event(source string, size int64) *eventv1.Event {
	slices.SortStableFunc(g.events, func(a, b *observation) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
	})
	first, last := g.events[0], g.events[len(g.events)-1]
	counts, worst := map[string]int64{}, int32(0)
	attributes := []*eventv1.KeyValue{
		integer("window.size_ms", size/int64(time.Millisecond)), integer("event.count", int64(len(g.events))),
		text("event.first_id", first.id), text("event.last_id", last.id),
	}
	ids := &eventv1.Correlation{}
	for i, o := range g.events {
		counts[string(o.signal)]++
		worst = max(worst, o.severity)
		if i < maxGroupIDs {
			ids.Links = append(ids.Links, &eventv1.Link{EventId: o.id, Relation: "same-window", DeltaNs: o.time - first.time})
		}
	}
	dominant := ""
	for _, s := range slices.Sorted(maps.Keys(counts)) {
		attributes = append(attributes, integer("event.count."+s, counts[s]))
		if dominant == "" || counts[s] > counts[dominant] {
			dominant = s
		}
	}
	attributes = append(attributes, text("event.dominant_class", dominant))
	id := hash("group", source, fmt.Sprint(g.key.start, g.key.part), g.key.subject, first.id)
	ids.CorrelationId = id
	return &eventv1.Event{
		Id: id, Source: source, Type: TypeGroup, Subject: name(first.subject), TimeUnixNano: uint64(last.time),
		SeverityNumber: worst, SeverityText: event.SeverityText(worst), Entity: first.subject, Count: 1,
		Body:        fmt.Sprintf("%d notable events of %s within %s, mostly %s", len(g.events), name(first.subject), time.Duration(size), dominant),
		Attributes:  attributes,
		Correlation: ids,
	}
}

func integer(key string, n int64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: n}}
}

func text(key, s string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: s}}
}
