package scaling

import (
	"math"
	"time"
)

const (
	// memory is how long a measurement counts: the time constant of the means.
	memory = 20 * time.Second
	// backlog is how much work must lie ready for a worker to show what it can, in seconds of its work.
	backlog = 1.0
	// longest gap between two samples that says something about rates.
	longestGap = time.Minute
)

// Sample is what was seen of a stage at one time, over all its consumers.
type Sample struct {
	At time.Time
	// Acked counts messages acknowledged since the consumers were made.
	Acked uint64
	// Outstanding messages are stored and not acknowledged; Redelivered are those of them that were
	// delivered more than once.
	Outstanding, Redelivered uint64
	// Lag is Outstanding in events.
	Lag int64
	// PerMessage is the mean number of events in a message; 0 when there was none to look at.
	PerMessage float64
	// Ready workers that have a lane.
	Ready int32
}

// Estimate is what samples have taught. The zero value knows nothing.
type Estimate struct {
	// Arrival and Rate as in Load.
	Arrival, Rate float64

	last       Sample
	perMessage float64
	// weight grows to 1 as measurements fill the memory.
	weight float64
}

// Known starts an estimate with a rate that was learned before.
func Known(rate float64) Estimate { return Estimate{Rate: rate} }

// Last is the newest sample; its time is zero when there is none.
func (e Estimate) Last() Sample { return e.last }

// Learn adds a sample.
func (e Estimate) Learn(s Sample) Estimate {
	before := e.last
	e.last = s
	if s.PerMessage > 0 {
		e.perMessage = s.PerMessage
	}
	elapsed := s.At.Sub(before.At)
	if before.At.IsZero() || elapsed <= 0 || elapsed > longestGap || e.perMessage == 0 {
		return e
	}
	// A consumer that was made anew, or what is delivered a second time, would count twice.
	if s.Acked < before.Acked || s.Redelivered > 0 || before.Redelivered > 0 {
		return e
	}
	seconds := elapsed.Seconds()
	done := float64(s.Acked-before.Acked) * e.perMessage / seconds
	came := max(0, done+(float64(s.Outstanding)-float64(before.Outstanding))*e.perMessage/seconds)
	share := 1 - math.Exp(-seconds/memory.Seconds())
	// The first measurements weigh more, so that the mean does not start from nothing.
	e.weight = e.weight*(1-share) + share
	e.Arrival += (came - e.Arrival) * share / e.weight
	if e.Arrival < 0.5 {
		e.Arrival = 0
	}
	return e.learnRate(before, s, done, share)
}

// learnRate: a worker shows its rate while work lies ready for it. One that has none shows a lower
// bound.
func (e Estimate) learnRate(before, s Sample, done, share float64) Estimate {
	if s.Ready == 0 || s.Ready != before.Ready || done == 0 {
		return e
	}
	each := done / float64(s.Ready)
	full := float64(min(before.Lag, s.Lag)) >= done*backlog
	switch {
	case full && e.Rate == 0:
		e.Rate = each
	case full, each > e.Rate && e.Rate > 0:
		e.Rate += (each - e.Rate) * share
	}
	return e
}
