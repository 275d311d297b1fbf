package correlate

import (
	"slices"
	"time"
)

const (
	// quiet is how long everything must be well before an incident is closed. It doubles with each relapse of
	// what was ill, up to maxRelapses times.
	quiet       = 15 * time.Second
	maxRelapses = 4
	// updateEvery bounds the updates of an incident.
	updateEvery = time.Minute
)

// telling says whether o is worth a person's time, should it last.
func telling(o *observation) bool {
	rule := &rules[o.signal]
	switch {
	case rule.class != symptom:
		return false
	case o.signal == signalUnhealthy:
		return o.time-o.steady >= int64(longSeries)
	}
	return rule.alone || o.cause != nil && rule.rank > requestRank
}

// holdOf is how long o must last before it is told. Of a Job's pod, which may fail a few times, the Job says whether
// that matters.
func holdOf(o *observation) time.Duration {
	if ofJob(o) && (o.signal == signalPodFailed || o.signal == signalCrashLoop || o.signal == signalRestart) {
		return jobHold
	}
	return rules[o.signal].hold
}

func ofJob(o *observation) bool {
	kind := o.subject.GetKind()
	return kind == "Job" || kind == "CronJob"
}

// due is when o has lasted for its hold.
func (o *observation) due() deadline {
	if o.urgent {
		return deadline{}
	}
	hold := int64(holdOf(o))
	return deadline{o.seen + hold, o.arrived + hold}
}

// due is when the first of what is still ill is worth telling.
func (i *incident) due() deadline {
	if i.spell {
		return deadline{}
	}
	first := never
	for _, o := range i.events {
		if !o.ended && telling(o) {
			first = first.earlier(o.due())
		}
	}
	return first
}

// review moves an incident on in its life: see the package's documentation.
func (r *realtime) review(inc *incident) {
	switch {
	case inc.closed:
	case inc.recovering():
		r.reviewRecovery(inc)
	case inc.revision == 0:
		if due := inc.due(); r.passed(due) {
			r.tell(inc, "")
		} else if due != never {
			r.wait(inc, due)
		}
	case !inc.dirty:
	case !r.passed(inc.mute):
		r.wait(inc, inc.mute)
	default:
		inc.dirty = false
		if inc.saysMore() {
			r.tell(inc, "")
		}
	}
}

func (r *realtime) reviewRecovery(inc *incident) {
	switch {
	case !r.passed(inc.quiet):
		r.wait(inc, inc.quiet)
	case inc.checks < 1<<min(r.relapses(inc), maxRelapses)-1:
		inc.checks++
		inc.quiet = r.in(quiet)
		r.wait(inc, inc.quiet)
	default:
		r.finish(inc)
	}
}

// finish closes an incident of which all is well again. Nobody hears of the end of what nobody heard of.
func (r *realtime) finish(inc *incident) {
	if inc.revision > 0 {
		r.tell(inc, statusClosed)
	} else {
		for _, o := range inc.events { // what caused it may cause what people do hear of
			o.incident = nil
		}
	}
	inc.closed = true
}

// tell publishes the next revision of an incident.
func (r *realtime) tell(inc *incident, status string) {
	if inc.revision == 0 {
		r.follow(inc)
	}
	inc.mute = r.in(updateEvery)
	r.news = append(r.news, inc.tell(r.voice, status))
}

func (r *realtime) touch(inc *incident) {
	inc.dirty = true
	if !slices.Contains(r.changed, inc) {
		r.changed = append(r.changed, inc)
	}
}

// settle reviews the incidents that a batch has changed, once each.
func (r *realtime) settle() {
	for _, inc := range r.absorbed {
		r.news = append(r.news, inc.tell(r.voice, statusClosed))
	}
	clear(r.absorbed) // they hold their events
	r.absorbed = r.absorbed[:0]
	var done []*incident
	for _, inc := range r.changed {
		if inc = inc.find(); !slices.Contains(done, inc) {
			done = append(done, inc)
			r.review(inc)
		}
	}
	clear(r.changed)
	r.changed = r.changed[:0]
}

// follow has the end of an incident told, now that its beginning was. At most maxIncidents
// are followed: the end of the oldest goes untold then.
func (r *realtime) follow(inc *incident) {
	if len(r.followed) == maxIncidents {
		r.evicted.Inc()
		r.release(r.followed[0].find())
		r.followed = slices.Delete(r.followed, 0, 1)
	}
	r.followed = append(r.followed, inc)
}

// sweep closes the followed incidents that are over for lack of events, and forgets those that are
// closed. It follows incidents, not what is open: one that is full or idle has a successor under its key.
func (r *realtime) sweep(now int64) {
	r.sweeps++
	on := r.followed[:0]
	for _, inc := range r.followed {
		inc = inc.find() // the end of one that was absorbed is told when it is
		switch {
		case inc.closed || inc.swept == r.sweeps: // several went into it
		case r.over(inc, now):
			r.tell(inc, statusClosed)
			inc.closed = true
			r.release(inc)
		default:
			on = append(on, inc)
		}
		inc.swept = r.sweeps
	}
	clear(r.followed[len(on):])
	r.followed = on
	for _, key := range r.open.Keys() {
		if inc, _ := r.open.Peek(key); r.over(inc.find(), now) {
			r.open.Remove(key)
		}
	}
	r.incidents.Set(float64(len(r.followed)))
}

// over says whether an incident saw no event for the idle time: by event time, or, when event time stands still, by
// stream time. Late events count as of the event time that all events have reached.
func (r *realtime) over(inc *incident, now int64) bool {
	return r.clock.latest-max(inc.last, inc.joined) > r.idle || now-inc.seen > r.idle
}

// end tells everything that is held back: the input is over. What was mended last is closed, what is still
// ill is told, and what has grown since it was told is told once more.
func (r *realtime) end() {
	for _, inc := range append(slices.Clone(r.watched), r.followed...) {
		inc = inc.find()
		switch {
		case inc.closed:
		case inc.recovering():
			r.finish(inc)
		case inc.revision == 0 && inc.due() != never, inc.revision > 0 && inc.count > inc.toldCount:
			r.tell(inc, "")
		}
	}
}
