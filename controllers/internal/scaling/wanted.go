package scaling

import (
	"fmt"
	"math"
	"time"
)

// DefaultTargetLag is the lag for each worker, in events, where the manifest names no target.
const DefaultTargetLag = 5000

// headroom is the part of a worker's rate that arrivals may take before a stage keeps one worker more.
const headroom = 0.9

// Policy is what the manifest asks for.
type Policy struct {
	// Min and Max bound the number of workers; with Min 0 a stage that has nothing to do has none.
	Min, Max int32
	// Lanes is how many workers can have something to do.
	Lanes int
	// TargetLag is the lag for each worker, in events; 0 means DefaultTargetLag.
	TargetLag int64
	// TargetDrain is how fast the lag is to be worked off; 0 selects TargetLag.
	TargetDrain time.Duration
}

// Useful is the largest number of workers that helps: Max, but not more than the lanes or less than Min.
func (p Policy) Useful() int32 {
	return max(p.Min, min(p.Max, int32(min(p.Lanes, math.MaxInt32))), 1)
}

// targetLag is TargetLag or its default.
func (p Policy) targetLag() int64 {
	if p.TargetLag > 0 {
		return p.TargetLag
	}
	return DefaultTargetLag
}

// Load is what is known of a stage.
type Load struct {
	// Lag is the number of events stored and not yet acknowledged.
	Lag int64
	// Arrival is how many events a second come in.
	Arrival float64
	// Rate is how many events a second one worker gets through; 0 while it is not known.
	Rate float64
	// Workers is the number of workers that there should be at present.
	Workers int32
	// Idle is how long the lag has been 0.
	Idle time.Duration
	// IdleAfter is how long the lag must have been 0 before the last worker goes, if Min is 0.
	IdleAfter time.Duration
}

// Decision is a number of workers and why it is this one.
type Decision struct {
	Workers int32
	// Reason is a sentence for people.
	Reason string
}

// Wanted is the number of workers that the load calls for.
func Wanted(p Policy, l Load) Decision {
	if l.Lag == 0 && p.Min == 0 {
		if d, ok := idle(l); ok {
			return d
		}
	}
	d := forLag(p, l)
	if keep := l.busy(); keep > d.Workers {
		d.Workers = keep
		d.Reason = fmt.Sprintf("%.0f events/s come in, and a worker gets through %.0f/s: %d have to stay", l.Arrival, l.Rate, keep)
	}
	return p.clamp(d)
}

// idle says what happens to the last worker while there is nothing to do; ok is false when others decide.
func idle(l Load) (d Decision, ok bool) {
	switch {
	case l.Workers == 0:
		return Decision{0, "scaled to zero: there is no lag"}, true
	case l.Idle >= l.IdleAfter:
		return Decision{0, fmt.Sprintf("scaled to zero: there was no lag for %s", l.IdleAfter)}, true
	}
	return Decision{}, false
}

// forLag is the number of workers that the lag calls for, before any bound.
func forLag(p Policy, l Load) Decision {
	if p.TargetDrain == 0 {
		n := ceil(float64(l.Lag) / float64(p.targetLag()))
		return Decision{n, fmt.Sprintf("%d events of lag at %d for each worker: %d", l.Lag, p.targetLag(), n)}
	}
	if l.Rate <= 0 {
		n := max(l.Workers, 1)
		return Decision{n, fmt.Sprintf("what a worker gets through is not known yet: %d stay until a backlog has shown it", n)}
	}
	n := ceil((l.Arrival + float64(l.Lag)/p.TargetDrain.Seconds()) / l.Rate)
	return Decision{n, fmt.Sprintf("%.0f events/s come in and %d are to be worked off in %s, at %.0f/s for each worker: %d",
		l.Arrival, l.Lag, p.TargetDrain, l.Rate, n)}
}

// busy is how many of the present workers the arriving events need: never more than there are, since a
// stage without lag has enough.
func (l Load) busy() int32 {
	if l.Rate <= 0 {
		return 0
	}
	return min(ceil(l.Arrival/(l.Rate*headroom)), l.Workers)
}

// clamp brings a decision within the bounds and says which one it met.
func (p Policy) clamp(d Decision) Decision {
	least := max(p.Min, 1)
	switch most := p.Useful(); {
	case d.Workers < least:
		d.Workers = least
		d.Reason += fmt.Sprintf("; at least %d", least)
	case d.Workers > most && most < p.Max:
		d.Workers = most
		d.Reason += fmt.Sprintf("; at most %d, since the stage has no more lanes", most)
	case d.Workers > most:
		d.Workers = most
		d.Reason += fmt.Sprintf("; at most %d (workers.max)", most)
	}
	return d
}

// ceil rounds up to a number of workers, far beyond any bound at most.
func ceil(x float64) int32 {
	if x <= 0 || math.IsNaN(x) {
		return 0
	}
	return int32(math.Ceil(min(x, 1e6)))
}
