package scaling

import "time"

// stepEvery is how often a stage may grow by one step.
const stepEvery = 15 * time.Second

// Window remembers what was wanted, so that a number falls only when nobody wanted more for a while, and
// grows in steps: what a HorizontalPodAutoscaler does with the behaviour that the operator gives it. The
// zero value remembers nothing.
type Window struct {
	wanted []recommendation
	grown  []recommendation
}

// recommendation is a number of workers that was recommended at a time.
type recommendation struct {
	at time.Time
	n  int32
}

// Settle adds what is wanted at a time and returns the number to set: never less than the most that was
// wanted within down, and in 15 s at most twice what there was, or four more. Nothing is set at once:
// who wants nothing has waited already.
func (w *Window) Settle(now time.Time, current, wanted int32, down time.Duration) int32 {
	w.wanted = append(w.wanted, recommendation{now, wanted})
	w.wanted = since(w.wanted, now.Add(-down))
	w.grown = since(w.grown, now.Add(-stepEvery))
	if wanted == 0 {
		return 0
	}
	least := wanted
	for _, old := range w.wanted {
		least = max(least, old.n)
	}
	switch {
	case wanted > current:
		base := current
		for _, g := range w.grown {
			base = min(base, g.n)
		}
		n := min(wanted, max(2*base, base+4))
		if n > current {
			w.grown = append(w.grown, recommendation{now, current})
		}
		return max(n, current)
	case least >= current:
		return current
	default:
		return least
	}
}

// since drops what is older than a time.
func since(all []recommendation, from time.Time) []recommendation {
	i := 0
	for i < len(all) && !all[i].at.After(from) {
		i++
	}
	return all[i:]
}
