package correlate

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// Remembers is the longest life of an incident, and how long it takes to be over.
func (c *correlator) Remembers() time.Duration {
	if c.realtime == nil && c.runs == nil {
		if c.patterns != nil {
			return c.patterns.remembers()
		}
		return 0
	}
	if c.realtime == nil {
		return maxIncidentLife + c.Horizon()
	}
	return maxIncidentLife + 2*time.Duration(c.realtime.idle) + c.Horizon()
}

// Recall goes on with the incidents that people know.
func (c *correlator) Recall(told []*eventv1.Event, after time.Time) {
	var ofRules, ofRun, ofPattern []*eventv1.Event
	for _, e := range told {
		switch {
		case ofRuns(e):
			ofRun = append(ofRun, e)
		case ofPatterns(e):
			ofPattern = append(ofPattern, e)
		default:
			ofRules = append(ofRules, e)
		}
	}
	if c.realtime != nil {
		c.realtime.recall(ofRules, after)
	}
	if c.runs != nil {
		c.runs.recall(ofRun, after)
	}
	if c.patterns != nil {
		c.patterns.recall(ofPattern, after)
	}
}

// recall gives incidents whose beginning lies before the replay the ids under which people know them. What the replay does not
// show at all is over: it is closed later than after.
func (r *realtime) recall(told []*eventv1.Event, after time.Time) {
	known := map[string]bool{}
	for _, e := range told {
		known[e.GetCorrelation().GetIncidentId()] = true
	}
	all, byID := r.all(), map[string]*incident{}
	for _, inc := range all {
		byID[inc.id] = inc
	}
	for _, e := range told {
		id, in := e.GetCorrelation().GetIncidentId(), e.GetInsight()
		inc := byID[id]
		switch {
		case id == "", in.GetStatus() == statusClosed:
		case inc != nil && (inc.closed || inc.revision > 0 && inc.first <= int64(in.GetFirstSeenUnixNano())): // the replay shows all of it
		case inc != nil:
			r.resume(inc, e)
		default:
			if inc := r.restOf(e, all, known); inc != nil {
				r.resume(inc, e)
			} else {
				r.gone = append(r.gone, e)
			}
		}
	}
	for _, inc := range all { // what the replay told of nobody has heard of
		if inc.merged == nil && !inc.closed && inc.revision > 0 && !known[inc.id] {
			r.unheard = append(r.unheard, inc)
		}
	}
	r.goneAfter = after.UnixNano()
}

// all are the incidents that may be told of again, each once.
func (r *realtime) all() (all []*incident) {
	have := map[*incident]bool{}
	add := func(inc *incident) {
		if inc = inc.find(); !have[inc] {
			have[inc] = true
			all = append(all, inc)
		}
	}
	for _, inc := range r.followed {
		add(inc)
	}
	for _, inc := range r.watched {
		add(inc)
	}
	for _, key := range r.open.Keys() {
		inc, _ := r.open.Peek(key)
		add(inc)
	}
	return all
}

// restOf is what the replay shows of an incident that began before it: all that is ill now of what it was about. nil = nothing.
func (r *realtime) restOf(e *eventv1.Event, all []*incident, known map[string]bool) (rest *incident) {
	about := map[string]bool{}
	for _, ref := range append(slices.Clone(e.GetInsight().GetAffected()), e.GetInsight().GetRootCause()) {
		about[subjectKey(ref)] = true
	}
	for _, inc := range all {
		if inc.merged != nil || inc.closed || known[inc.id] || !slices.ContainsFunc(inc.events, func(o *observation) bool {
			return rules[o.signal].class == symptom && about[subjectKey(o.subject)]
		}) {
			continue
		}
		if rest == nil {
			rest = inc
		} else {
			rest.merge(inc)
		}
	}
	return rest
}

// resume goes on with what people were told of an incident.
func (r *realtime) resume(inc *incident, e *eventv1.Event) {
	in := e.GetInsight()
	followed := inc.revision > 0
	inc.id, inc.recalled = e.GetCorrelation().GetIncidentId(), e
	inc.revision = max(inc.revision, in.GetRevision())
	inc.first, inc.last = min(inc.first, int64(in.GetFirstSeenUnixNano())), max(inc.last, int64(in.GetLastSeenUnixNano()))
	inc.count = max(inc.count, in.GetCount())
	for _, ref := range in.GetAffected() {
		inc.affect(ref)
	}
	inc.toldTitle, inc.toldSeverity, inc.toldCount, inc.toldAffected = in.GetTitle(), e.GetSeverityNumber(), in.GetCount(), len(in.GetAffected())
	inc.toldRoot = inc.root()
	if !followed {
		r.follow(inc)
	}
}

// stands says whether what people were told before the takeover is still more than what is known of the incident now.
func (i *incident) stands(root, symptom *observation) bool {
	e := i.recalled
	return e != nil && i.severity() <= e.GetSeverityNumber() && i.shared == nil &&
		(strings.Contains(e.GetInsight().GetRuleId(), ">") || !explains(root, symptom))
}

// catchUp closes the insights that the replay showed nothing of, and has what nobody has heard of told.
func (r *realtime) catchUp(now int64) {
	if now <= r.goneAfter {
		return
	}
	for _, inc := range r.unheard {
		if inc = inc.find(); !inc.closed && inc.recalled == nil {
			inc.revision = 0
			r.touch(inc)
		}
	}
	if len(r.unheard) > 0 {
		r.followed = slices.DeleteFunc(r.followed, func(i *incident) bool { return i.find().revision == 0 })
		r.unheard = nil
		r.settle()
	}
	for _, e := range r.gone {
		r.news = append(r.news, closing(e))
	}
	r.gone = nil
}

// closing is the last revision of an insight of which no more is known than the one before.
func closing(told *eventv1.Event) *eventv1.Event {
	e := proto.CloneOf(told)
	in := e.GetInsight()
	in.Status, in.Revision = statusClosed, in.GetRevision()+1
	in.Summary += endedUnseen
	return e
}
