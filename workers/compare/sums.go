package compare

import (
	"github.com/DataDog/sketches-go/ddsketch"
)

// groups is how many groups keys are thrown into. The variance between them has 63 degrees of freedom.
const groups = 64

// sums are what was counted of all variants over some time.
type sums struct {
	variants []tally
	pairs    []agreement // of each variant with the control, with Mirror; that of the control is empty
	// unmatched are events that not every variant has answered in time.
	unmatched int64
}

// tally is what one variant did.
type tally struct {
	events, outcomes [groups]int64
	// latency is in ms, from the first stream of the pipeline to the variant's. Its relative error, and that of score, is 2 %.
	latency, score sketch
}

// agreement is what two variants said of the same events.
type agreement struct {
	both, neither, onlyControl, onlyCandidate int64
	// events are those that both have answered, more is how many more outcomes the candidate has, by group.
	events, more [groups]int64
}

// A sketch says quantiles (DDSketch: Masson, Rim and Lee 2019). The zero value is empty.
type sketch struct{ dd *ddsketch.DDSketch }

const (
	sketchAccuracy = 0.02
	sketchBins     = 512
)

func newSums(variants int, mirror bool) *sums {
	s := &sums{variants: make([]tally, variants)}
	if mirror {
		s.pairs = make([]agreement, variants)
	}
	return s
}

// add adds what was counted over another time.
func (s *sums) add(o *sums) {
	for i := range s.variants {
		v, w := &s.variants[i], &o.variants[i]
		addAll(&v.events, &w.events)
		addAll(&v.outcomes, &w.outcomes)
		v.latency.merge(w.latency)
		v.score.merge(w.score)
	}
	for i := range s.pairs {
		p, q := &s.pairs[i], &o.pairs[i]
		p.both += q.both
		p.neither += q.neither
		p.onlyControl += q.onlyControl
		p.onlyCandidate += q.onlyCandidate
		addAll(&p.events, &q.events)
		addAll(&p.more, &q.more)
	}
	s.unmatched += o.unmatched
}

func addAll(to, from *[groups]int64) {
	for i := range to {
		to[i] += from[i]
	}
}

func total(of *[groups]int64) (n int64) {
	for _, x := range of {
		n += x
	}
	return n
}

// empty says that nothing was counted.
func (s *sums) empty() bool {
	for i := range s.variants {
		if total(&s.variants[i].events) > 0 {
			return false
		}
	}
	return s.unmatched == 0
}

// rate is the part of the events with the outcome; 0 of none.
func (t *tally) rate() float64 {
	return float64(total(&t.outcomes)) / float64(max(total(&t.events), 1))
}

// count adds an event with its outcomes to a pair.
func (a *agreement) count(group int, control, candidate bool) {
	switch {
	case control && candidate:
		a.both++
	case control:
		a.onlyControl++
		a.more[group]--
	case candidate:
		a.onlyCandidate++
		a.more[group]++
	default:
		a.neither++
	}
	a.events[group]++
}

// agree is the part of the events that both variants say the same of, and kappa what of it is more than chance (Cohen 1960).
func (a *agreement) agree() (part, kappa float64) {
	n := float64(a.both + a.neither + a.onlyControl + a.onlyCandidate)
	if n == 0 {
		return 0, 0
	}
	part = float64(a.both+a.neither) / n
	control, candidate := float64(a.both+a.onlyControl)/n, float64(a.both+a.onlyCandidate)/n
	chance := control*candidate + (1-control)*(1-candidate)
	if chance == 1 {
		return part, 1
	}
	return part, (part - chance) / (1 - chance)
}

// add adds a value. What is no number, or beyond what a sketch holds, counts nowhere.
func (s *sketch) add(x float64) {
	s.make()
	_ = s.dd.Add(x)
}

func (s *sketch) make() {
	if s.dd == nil {
		s.dd, _ = ddsketch.LogCollapsingLowestDenseDDSketch(sketchAccuracy, sketchBins) // the accuracy is one
	}
}

func (s *sketch) merge(o sketch) {
	if o.dd == nil {
		return
	}
	s.make()
	_ = s.dd.MergeWith(o.dd) // both are of one mapping
}

// quantiles are those of the values; nil when there are none.
func (s *sketch) quantiles(q ...float64) []float64 {
	if s.dd == nil || s.dd.IsEmpty() {
		return nil
	}
	values, err := s.dd.GetValuesAtQuantiles(q)
	if err != nil {
		return nil
	}
	return values
}
