package view

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The health of a stage.
const (
	HealthOK      = "ok"
	HealthSlow    = "slow"
	HealthStuck   = "stuck"
	HealthFailing = "failing"
	HealthUnknown = "unknown"
)

// When a stage is not healthy.
const (
	// stuckAfter is how long nothing was acknowledged of a lane that has events to process.
	stuckAfter = 10 * time.Second
	// slowAge is how long the oldest event waits, and growingAge where the lag has grown for a while.
	slowAge, growingAge = 30 * time.Second, 5 * time.Second
	// healthWindow is over how long lag and dead letters are compared.
	healthWindow = 20 * time.Second
	// failingShare is which part of the events are dead letters.
	failingShare = 0.05
	// fullShare is from which part of its limit on a stream counts as full.
	fullShare = 0.98
)

// stageSeen is a stage.
type stageSeen struct {
	latencies ring[timed]
	lanes     map[string]laneSeen // by durable
	past      []stagePast         // the last healthWindow, oldest first
}

// laneSeen is since when the floor of a consumer has not moved.
type laneSeen struct {
	floor uint64
	since time.Time
}

// stagePast is a stage at a reading before.
type stagePast struct {
	at                   time.Time
	lag                  int64
	dead, processed, gap float64 // events a second, and seconds since the reading before
}

func (p *probe) stage(name string) *stageSeen {
	if p.stages[name] == nil {
		p.stages[name] = &stageSeen{lanes: map[string]laneSeen{}}
	}
	return p.stages[name]
}

// judge says how the stage is, and why.
func (r *reading) judge(s *StageLayout, seen *stageSeen, g *Graph, f *Flow, out *StageFlow) {
	lag, oldest, known := waitsFor(s, g, f)
	still, since := r.stillLane(s, seen)
	past := seen.remember(r.now, lag, out)
	missing := r.missing(s)
	set := func(health, why string, args ...any) { out.Health, out.Why = health, fmt.Sprintf(why, args...) }
	dead, share := past.dead()
	switch {
	case s.Suspended && lag > 0:
		set(HealthOK, "it is suspended, and %s wait", events(lag))
	case s.Suspended:
		set(HealthOK, "it is suspended")
	case missing != "":
		set(HealthStuck, "consumer %s does not exist: the operator makes it again", missing)
	case s.Head == "" && !known:
		set(HealthUnknown, "its consumers could not be read")
	case lag > 0 && out.Workers != nil && *out.Workers == 0:
		set(HealthStuck, "no worker runs, and %s wait", events(lag))
	case still != "" && since >= stuckAfter:
		set(HealthStuck, "nothing of %s was acknowledged for %s, and %s wait%s", still, since.Round(time.Second), events(lag), r.full(s))
	case out.BreakerOpen != nil:
		set(HealthFailing, "the breaker of %s has been open for %s", out.Breaker, max(f.At.Sub(*out.BreakerOpen), 0).Round(time.Second))
	case share >= failingShare:
		set(HealthFailing, "%.0f %% of its events of the last %s are dead letters", 100*share, healthWindow)
	case oldest >= slowAge:
		set(HealthSlow, "the oldest of %s waits for %s%s", events(lag), oldest.Round(time.Second), r.full(s))
	case oldest >= growingAge && past.grows():
		set(HealthSlow, "its lag grows: %s wait, the oldest for %s%s", events(lag), oldest.Round(time.Second), r.full(s))
	case dead > 0:
		set(HealthOK, "%s in the last %s", count(int64(math.Ceil(dead)), "dead letter"), healthWindow)
	default:
		set(HealthOK, "")
	}
}

// follow has a chained stage be as healthy as the one in whose workers it runs.
func (r *reading) follow(f *Flow, i int) {
	s := &r.layout.Stages[i]
	if s.Head == "" || f.Stages[i].Health != HealthOK || s.Suspended {
		return
	}
	for k := range f.Stages {
		if head := &f.Stages[k]; head.Stage == s.Head && head.Health != HealthOK && head.Health != HealthFailing {
			f.Stages[i].Health, f.Stages[i].Why = head.Health, "it runs in the workers of "+head.Stage+": "+head.Why
		}
	}
}

// waitsFor is how many events a stage has to process, and how long the oldest one waits. known is false when some input could not be read.
func waitsFor(s *StageLayout, g *Graph, f *Flow) (lag int64, oldest time.Duration, known bool) {
	known = true
	for i := range g.Edges {
		e, flow := &g.Edges[i], &f.Edges[i]
		if e.To != s.Name || e.Stream == "" || e.From == s.Name { // what it has sent aside itself waits on purpose
			continue
		}
		if flow.Lag == nil {
			known = false
			continue
		}
		lag += *flow.Lag
		if flow.OldestAge != nil {
			oldest = max(oldest, time.Duration(*flow.OldestAge))
		}
	}
	return lag, oldest, known
}

// stillLane is the lane that has had events to process and acknowledged none for the longest time; empty when there is none.
func (r *reading) stillLane(s *StageLayout, seen *stageSeen) (lane string, since time.Duration) {
	for i := range s.Inputs {
		in := &s.Inputs[i]
		list := r.lists[in.Stream]
		if list == nil || in.Overflow {
			continue
		}
		for k, c := range in.Consumers {
			now := list[c.Durable]
			was, ok := seen.lanes[c.Durable]
			if !ok || was.floor != now.Floor || now.Outstanding == 0 {
				seen.lanes[c.Durable] = laneSeen{now.Floor, r.now}
				continue
			}
			if still := r.now.Sub(was.since); still > since {
				since, lane = still, in.From
				if len(in.Consumers) > 1 {
					lane = fmt.Sprintf("lane %d of %s", k, in.From)
				}
			}
		}
	}
	return lane, since
}

// missing is a consumer of the stage that does not exist; empty when all are there, or that is not known.
func (r *reading) missing(s *StageLayout) string {
	for i := range s.Inputs {
		in := &s.Inputs[i]
		list := r.lists[in.Stream]
		for _, c := range in.Consumers {
			if _, ok := list[c.Durable]; list != nil && !ok {
				return c.Durable
			}
		}
	}
	return ""
}

// full names a stream of the stage that takes no more, as the end of a sentence.
func (r *reading) full(s *StageLayout) string {
	for _, p := range r.layout.PortsOf(s.Name) {
		if st, ok := r.streams[p.Stream]; ok && st.MaxBytes > 0 && float64(st.Bytes) >= fullShare*float64(st.MaxBytes) {
			return "; stream " + p.Stream + ", where it stores, is full"
		}
	}
	return ""
}

// past is what a stage did in the last healthWindow.
type past []stagePast

func (s *stageSeen) remember(now time.Time, lag int64, out *StageFlow) past {
	p := stagePast{at: now, lag: lag}
	if n := len(s.past); n > 0 {
		p.gap = now.Sub(s.past[n-1].at).Seconds()
	}
	if out.DeadLetters != nil {
		p.dead = *out.DeadLetters
	}
	if out.Processed != nil {
		p.processed = *out.Processed
	}
	s.past = append(s.past, p)
	for len(s.past) > 0 && now.Sub(s.past[0].at) > healthWindow {
		s.past = s.past[1:]
	}
	return s.past
}

// dead is how many dead letters there were, and which part of what was processed that is.
func (p past) dead() (dead, share float64) {
	var processed float64
	for _, one := range p {
		dead += one.dead * one.gap
		processed += one.processed * one.gap
	}
	if dead < 0.5 {
		return 0, 0
	}
	return dead, dead / max(processed, dead)
}

// grows says whether the lag has grown over the window, and is at its highest now.
func (p past) grows() bool {
	if len(p) < 4 {
		return false
	}
	last := p[len(p)-1].lag
	for _, one := range p[:len(p)-1] {
		if one.lag >= last {
			return false
		}
	}
	return p[len(p)-1].at.Sub(p[0].at) >= healthWindow/2
}

func events(n int64) string { return count(n, "event") }

// count is a number with its noun.
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return strings.TrimSpace(text + " " + noun)
}
