package correlate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
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
	groups               map[groupKey][]*group // those of several clusters, which most often are one
	count                int                   // of them
	held                 int                   // events in them
	watermark            int64                 // no window that ends at or before it is open
	clock                clock                 // event time
	earliest             int64                 // no open window starts before; too early means one look in vain
	late, dropped        prometheus.Counter
	open                 prometheus.Gauge
}

// maxGroups bounds the groups of open windows, maxHeld the events in them.
const (
	maxGroups = 100_000
	maxHeld   = 200_000
)

type groupKey struct {
	start   int64
	subject string
}

type group struct {
	key     groupKey
	cluster string // empty = nobody has told yet
	part    int    // a full group is closed early; the next part begins
	events  []*observation
}

func newWindows(c *config.CorrelateWindow, m prometheus.Registerer) *windows {
	return &windows{
		size: int64(c.Size), lateness: int64(c.Lateness), minEvents: c.MinEvents, maxEvents: c.MaxEvents, groups: map[groupKey][]*group{},
		clock:   clock{silence: int64(c.Size + c.Lateness)},
		late:    counter(m, "millrace_correlate_late_events_total", "Notable events that came after their window was closed."),
		dropped: counter(m, "millrace_correlate_ungrouped_events_total", "Notable events that no window had room for."),
		open:    gauge(m, "millrace_correlate_groups", "Groups in open windows."),
	}
}

// take puts o into its window: none that is yet to come, where it would wait for longer than
// Horizon reaches.
func (w *windows) take(o *observation) (full *group) {
	at, back := w.clock.see(o.time, o.seen)
	start := at - at%w.size
	if back {
		w.watermark = min(w.watermark, start)
	}
	if start+w.size <= w.watermark {
		w.late.Inc()
		return nil
	}
	key := groupKey{start: start, subject: nameKey(o.subject)}
	g := w.groupOf(key, o.cluster)
	if w.held >= maxHeld || (g == nil && w.count >= maxGroups) {
		w.dropped.Inc()
		return nil
	}
	if g == nil {
		g = &group{key: key, cluster: o.cluster}
		if w.count == 0 || start < w.earliest {
			w.earliest = start
		}
		w.groups[key] = append(w.groups[key], g)
		w.count++
	}
	g.cluster = cmp.Or(g.cluster, o.cluster)
	g.events = append(g.events, o)
	w.held++
	if len(g.events) < w.maxEvents {
		return nil
	}
	w.held -= len(g.events)
	whole := *g
	*g = group{key: key, cluster: g.cluster, part: g.part + 1}
	return &whole
}

// groupOf is the group of a cluster. Who does not tell its cluster belongs to the group that is there, and a group
// of which nobody has told takes the first name: collectors name their cluster, logs and traces seldom do.
func (w *windows) groupOf(key groupKey, cluster string) *group {
	for _, g := range w.groups[key] {
		if !differ(g.cluster, cluster) {
			return g
		}
	}
	return nil
}

// close removes and returns the groups of windows that are over: the watermark has passed
// them, nothing came for as long as they would wait in stream time, or all is over.
func (w *windows) close(now int64, all bool) []*group {
	latest := w.clock.latest
	w.watermark = max(w.watermark, latest-w.lateness)
	all = all || w.clock.silent(now) // then also windows that lie ahead of event time
	if !all && w.earliest+w.size > w.watermark {
		w.open.Set(float64(w.count))
		return nil
	}
	var out []*group
	w.earliest = math.MaxInt64 - w.size
	for key, groups := range w.groups {
		if !all && key.start+w.size > w.watermark {
			w.earliest = min(w.earliest, key.start)
			continue
		}
		delete(w.groups, key)
		w.count -= len(groups)
		for _, g := range groups {
			w.held -= len(g.events)
			if len(g.events) >= w.minEvents {
				out = append(out, g)
			}
		}
	}
	w.open.Set(float64(w.count))
	slices.SortFunc(out, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.start, b.key.start), cmp.Compare(a.key.subject, b.key.subject), cmp.Compare(a.cluster, b.cluster))
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
		counts[o.signal.String()]++
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
	id := hash("group", source, fmt.Sprint(g.key.start, g.part), g.key.subject, g.cluster, first.id)
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
