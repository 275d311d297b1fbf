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
	"millrace.dev/millrace/workers/stage"
)

const maxGroupIDs = 50

// windows groups notable events by workload into tumbling windows of event time. A window is closed when the
// watermark has passed its end by the lateness. Its groups wait for that no longer than hold, in stream time.
type windows struct {
	size, lateness       int64
	minEvents, maxEvents int
	groups               map[groupKey][]*group // those of several clusters, which most often are one
	count                int                   // of them
	held                 int                   // events in them
	watermark            watermark             // event time
	passed               int64                 // what it was when windows were closed last, less the lateness
	earliest             int64                 // no window that waits for the watermark ends before; too early means one look in vain
	due                  int64                 // no group ends by stream time before; too early as well
	last                 *event.Event          // of the message that is looked at
	dropped              prometheus.Counter
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
	opened  int64 // stream time
	// behind says that the watermark, or the clock of the partition, had passed the window when the group began: it is
	// of a source whose clock is behind, or of a partition that nobody waited for. No watermark tells when it is over.
	behind bool
	due    int64 // the stream time at which it is closed at the latest
}

func newWindows(c *config.CorrelateWindow, s stage.Settings) *windows {
	return &windows{
		size: int64(c.Size), lateness: int64(c.Lateness), minEvents: c.MinEvents, maxEvents: c.MaxEvents, groups: map[groupKey][]*group{},
		watermark: newWatermark(int64(c.Size+c.Lateness), s), passed: noTime,
		dropped: counter(s.Metrics, "millrace_correlate_ungrouped_events_total", "Notable events that no window had room for."),
		open:    gauge(s.Metrics, "millrace_correlate_groups", "Groups in open windows."),
	}
}

// hold is how long a group waits for partitions that are slower than its own, in stream time.
func (w *windows) hold() int64 { return 2 * (w.size + w.lateness) }

// horizon is how far back in stream time the windows reach: what is held, and what clocks are known by.
func (w *windows) horizon() time.Duration {
	return time.Duration(w.hold()+w.watermark.silence) + lateBy
}

// take adds an event to its window. A time ahead of stream time counts as now: a window in the
// future would outlive what a takeover replays (Horizon).
func (w *windows) take(b *stage.Batch, e *event.Event, o *observation) (full *group) {
	w.last = e
	at, latest := w.watermark.source(b, e, o)
	key := groupKey{start: at - at%w.size, subject: nameKey(o.subject)}
	g := w.groupOf(key, o.cluster)
	if g == nil && key.start+w.size <= latest-w.lateness {
		b.TooLate()
		return nil
	}
	if w.held >= maxHeld || (g == nil && w.count >= maxGroups) {
		w.dropped.Inc()
		return nil
	}
	if g == nil {
		passed := max(w.passed, w.watermark.ofPartition(b, e)-w.lateness)
		g = w.begin(key, o, at, passed)
	}
	g.cluster = cmp.Or(g.cluster, o.cluster)
	g.events = append(g.events, o)
	w.held++
	if len(g.events) < w.maxEvents {
		return nil
	}
	w.held -= len(g.events)
	whole := *g
	g.events, g.part = nil, g.part+1
	return &whole
}

// advance moves event time when all of a message is in its windows.
func (w *windows) advance(b *stage.Batch) {
	if w.last != nil {
		w.watermark.message(b, w.last)
		w.last = nil
	}
}

// begin opens a group. One that event time has passed is open for as long as its window goes on by the clock of its
// first event, and the lateness.
func (w *windows) begin(key groupKey, o *observation, at, passed int64) *group {
	end := key.start + w.size
	g := &group{key: key, cluster: o.cluster, opened: o.seen, behind: end <= passed, due: o.seen + w.hold()}
	if g.behind {
		g.due = o.seen + end - at + w.lateness
	}
	if w.count == 0 {
		w.earliest, w.due = math.MaxInt64, math.MaxInt64
	}
	if !g.behind {
		w.earliest = min(w.earliest, end)
	}
	w.due = min(w.due, g.due)
	w.groups[key] = append(w.groups[key], g)
	w.count++
	return g
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

// close removes and returns the groups that are over: all when the input is drained or nothing came for as long as
// they would wait.
func (w *windows) close(now int64, all bool) []*group {
	quiet := w.watermark.quiet(now)
	w.passed = noTime
	if !quiet {
		w.passed = w.watermark.at(now) - w.lateness
	}
	all = all || quiet
	var out []*group
	if w.count > 0 && (all || w.earliest <= w.passed || w.due <= now) {
		out = w.remove(now, all)
	}
	w.open.Set(float64(w.count))
	return out
}

// over says whether a group is.
func (w *windows) over(g *group, now int64) bool {
	return now >= g.due || !g.behind && g.key.start+w.size <= w.passed
}

func (w *windows) remove(now int64, all bool) (out []*group) {
	w.earliest, w.due = math.MaxInt64, math.MaxInt64
	for key, groups := range w.groups {
		left := groups[:0]
		for _, g := range groups {
			if !all && !w.over(g, now) {
				left = append(left, g)
				w.due = min(w.due, g.due)
				if !g.behind {
					w.earliest = min(w.earliest, key.start+w.size)
				}
				continue
			}
			w.count--
			w.held -= len(g.events)
			if len(g.events) >= w.minEvents {
				out = append(out, g)
			}
		}
		clear(groups[len(left):])
		w.groups[key] = left
		if len(left) == 0 {
			delete(w.groups, key)
		}
	}
	slices.SortFunc(out, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.start, b.key.start), cmp.Compare(a.key.subject, b.key.subject), cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.opened, b.opened))
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
	id := event.NewID("group", source, fmt.Sprint(g.key.start, g.part, g.opened), g.key.subject, g.cluster, first.id)
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
