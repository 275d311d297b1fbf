package gather

import (
	"fmt"
	"slices"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/jsontext"
	"millrace.dev/millrace/workers/stage"
)

// Attributes that a stage marks events with (config.GatherAttribute).
const (
	markStatus    = "status"
	markReason    = "reason"
	markConflicts = "conflicts"
)

// decide says what becomes of each event. Those of requests that are open are asked about again.
func (r *round) decide() {
	tally := map[string]int{}
	for i := range r.requests {
		q := &r.requests[i]
		for e := q.from; e < q.to; e++ {
			f := &r.events[e]
			status := r.status(f)
			switch {
			case !q.closed && !f.unfit:
				r.batch.Retry(e, r.rest)
			case status == statusComplete:
				r.emit(e, f, status)
			case f.refused != nil:
				r.batch.DeadLetter(e, f.refused.reason, f.refused.err)
			default:
				r.incomplete(e, f, status)
			}
			if v := r.batch.Decision(e).Verdict; v != stage.Retry && v != stage.Overflow {
				tally[status]++
			}
		}
	}
	for status, n := range tally {
		r.metrics.events.WithLabelValues(status).Add(float64(n))
	}
}

func (r *round) status(f *found) string {
	switch {
	case len(f.answers) >= r.rules.needed():
		return statusComplete
	case len(f.answers) > 0:
		return statusPartial
	}
	return statusNone
}

// incomplete decides about an event that has too few answers through no fault of its own.
func (r *round) incomplete(i int, f *found, status string) {
	why := r.why(f)
	err := fmt.Errorf("%d of %d answers: %w", len(f.answers), r.rules.needed(), why.err)
	if r.aside(f) {
		r.batch.Overflow(i, err)
		return
	}
	switch r.rules.onIncomplete {
	case config.IncompleteRetry:
		r.batch.Retry(i, err)
	case config.IncompleteDeadLetter:
		r.batch.DeadLetter(i, why.reason, err)
	case config.IncompleteHold:
		r.batch.Retry(i, stage.Unavailable(err))
	default:
		r.emit(i, f, status)
	}
}

// aside says whether an event is sent aside: what a breaker does not let through, what was asked before it opened, and what would hold the lane.
func (r *round) aside(f *found) bool {
	return r.closed != nil && (f.open || !r.closed() || r.rules.onIncomplete == config.IncompleteHold && !r.replay)
}

// why is what an event has too few answers for. Where nobody said anything of it, replies of max others closed its request.
func (r *round) why(f *found) failure {
	if f.failed != nil {
		return *f.failed
	}
	return r.noReply()
}

// emit merges the answers into an event, and marks it.
func (r *round) emit(i int, f *found, status string) {
	e := &r.batch.Events[i]
	conflicts := r.merge(e, f.answers)
	r.metrics.conflicts.Add(float64(len(conflicts)))
	r.mark(e, markStatus, status)
	if status != statusComplete {
		r.mark(e, markReason, r.why(f).reason)
	}
	if len(conflicts) > 0 {
		r.mark(e, markConflicts, strings.Join(conflicts, ","))
	}
	r.batch.Emit(i, stage.Out)
}

func (r *round) mark(e *event.Event, what, value string) {
	e.Set(event.AttributesMap, config.GatherAttribute(r.rules.stage, what), event.StringValue(value))
}

// merge sets the attributes of answers, and returns the names of those that have different values.
func (r *round) merge(e *event.Event, answers []answer) (conflicts []string) {
	if len(answers) == 1 && r.rules.merge != config.MergeList {
		for _, a := range answers[0] {
			e.Set(event.AttributesMap, r.rules.prefix+a.name, a.value)
		}
		return nil
	}
	values, names := map[string][]event.Value{}, []string(nil)
	for _, one := range answers {
		for _, a := range one {
			if values[a.name] == nil {
				names = append(names, a.name)
			}
			values[a.name] = append(values[a.name], a.value)
		}
	}
	for _, name := range names {
		all := values[name]
		if slices.ContainsFunc(all, func(v event.Value) bool { return v != all[0] }) {
			conflicts = append(conflicts, name)
		}
		e.Set(event.AttributesMap, r.rules.prefix+name, r.rules.choose(all))
	}
	slices.Sort(conflicts)
	return conflicts
}

// choose is the value of an attribute that answers have these values of.
func (r *rules) choose(all []event.Value) event.Value {
	switch r.merge {
	case config.MergeLast:
		return all[len(all)-1]
	case config.MergeList:
		list := []byte{'['}
		for i, v := range all {
			if i > 0 {
				list = append(list, ',')
			}
			if v.Kind() == event.String && !v.IsJSON() {
				list = jsontext.AppendQuoted(list, v.Str())
			} else {
				list = append(list, v.Text()...)
			}
		}
		return event.JSONValue(string(append(list, ']')))
	}
	return all[0]
}
