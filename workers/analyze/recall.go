package analyze

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/stage"
)

// Remembers is how long the longest-lived insight is left as it is.
func (a *analyzer) Remembers() time.Duration {
	return max(a.insights.far, 4*episodeSpan, a.quiet) + a.Horizon()
}

// Recall keeps the insights that are open and that the replay did not open: a rebuilt detector may not have scored their values.
func (a *analyzer) Recall(told []*eventv1.Event, after time.Time) {
	in := &a.insights
	open := map[string]bool{}
	for _, ep := range in.open.Values() {
		open[ep.id] = true
	}
	for _, id := range in.limits.Keys() {
		open[id] = true
	}
	for _, id := range in.predictions.Keys() {
		open[id] = true
	}
	in.recalledUntil = after.Add(episodeSpan).UnixNano()
	in.recalled = slices.DeleteFunc(slices.Clone(told), func(e *eventv1.Event) bool {
		return open[e.GetId()] || e.GetInsight().GetStatus() == "closed"
	})
}

// resumed returns the last revision of an insight that is open since before a takeover, which is then kept no longer; nil = there
// is none.
func (in *insights) resumed(id string) (e *eventv1.Event) {
	in.recalled = slices.DeleteFunc(in.recalled, func(told *eventv1.Event) bool {
		if told.GetId() == id {
			e = told
		}
		return e == told
	})
	return e
}

// closeRecalled closes what was open before a takeover and did not go on.
func (in *insights) closeRecalled(b *stage.Batch, final bool) {
	if len(in.recalled) == 0 || b.Now.UnixNano() <= in.recalledUntil && !final {
		return
	}
	for _, told := range in.recalled {
		e := proto.CloneOf(told)
		e.GetInsight().Status, e.GetInsight().Revision = "closed", e.GetInsight().GetRevision()+1
		b.Produce(stage.NoParent, stage.Insights, e)
	}
	in.recalled = nil
}
