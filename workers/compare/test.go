package compare

import "math"

// difference is how a candidate differs from the control, with the variance of that.
type difference struct {
	rate, variance float64
	// level is the rate of both together.
	level float64
	// enough says that the variance can be believed.
	enough bool
}

// What a variance takes to be believed: events of each variant, groups with events in them, and events with and without the outcome. The test
// leans on a normal distribution of the difference.
const (
	leastEvents   = 100
	leastGroups   = 24
	leastOutcomes = 20
)

// differ compares two variants whose events are different ones.
func differ(control, candidate *tally) difference {
	rc, vc, gc := ratio(&control.outcomes, &control.events)
	rt, vt, gt := ratio(&candidate.outcomes, &candidate.events)
	with, all := total(&control.outcomes)+total(&candidate.outcomes), total(&control.events)+total(&candidate.events)
	d := difference{rate: rt - rc, variance: vc + vt, level: float64(with) / float64(max(all, 1))}
	without := all - with
	d.enough = min(total(&control.events), total(&candidate.events)) >= leastEvents && min(gc, gt) >= leastGroups && min(with, without) >= leastOutcomes
	return d
}

// differInPairs compares two variants by what they say of the same events.
func differInPairs(a *agreement) difference {
	r, v, g := ratio(&a.more, &a.events)
	n := total(&a.events)
	d := difference{rate: r, variance: v, level: float64(2*a.both+a.onlyControl+a.onlyCandidate) / float64(max(2*n, 1))}
	d.enough = n >= leastEvents && g >= leastGroups && a.onlyControl+a.onlyCandidate >= leastOutcomes
	return d
}

// ratio is the sum of x over the sum of n, and its variance as that between groups (Cochran 1977, 6.4). full are the groups with something in them.
func ratio(x, n *[groups]int64) (r, variance float64, full int) {
	events := float64(total(n))
	if events == 0 {
		return 0, 0, 0
	}
	r = float64(total(x)) / events
	squares := 0.0
	for i := range n {
		if n[i] > 0 {
			full++
		}
		residual := float64(x[i]) - r*float64(n[i])
		squares += residual * residual
	}
	if full < 2 {
		return r, 0, full
	}
	return r, squares / (events * events) * float64(full) / float64(full-1), full
}

// tau2 is the variance of the differences that the test expects: about as large as the least that matters.
func (d *difference) tau2(effect float64) float64 {
	t := effect * d.level
	return t * t
}

// p is the inverse of the mixture's likelihood ratio: the chance of a false alarm at this or any other look. 1 = nothing can be said.
func (d *difference) p(effect float64) float64 {
	t, v := d.tau2(effect), d.variance
	if !d.enough || t == 0 || v == 0 {
		return 1
	}
	return min(1, math.Exp(-t*d.rate*d.rate/(2*v*(v+t)))*math.Sqrt((v+t)/v))
}

// margin is how far the true difference may be away, with 1-alpha, at all looks together. +Inf = nothing can be said.
func (d *difference) margin(effect, alpha float64) float64 {
	t, v := d.tau2(effect), d.variance
	if !d.enough || t == 0 || v == 0 {
		return math.Inf(1)
	}
	return math.Sqrt(2 * v * (v + t) / t * (math.Log(1/alpha) + math.Log((v+t)/v)/2))
}
