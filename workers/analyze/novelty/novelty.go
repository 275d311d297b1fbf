package novelty

const (
	// Silent is how many values a series has before any is scored.
	Silent = 200
	// MaxScore is the highest score.
	MaxScore = 16

	block       = 24   // values of an input of the coarse scale
	coarseFrom  = 16   // inputs of the coarse scale before it counts
	epochLength = 2000 // values
	young       = 300  // values at which a score counts half
	farScore    = 2.25 // of a value that is far outside of the grid
	factor      = 4
	// useless is by how much a grid is wider than what its series has done for two epochs when the series begins anew.
	useless = 16
	// tooNarrow is by how much a grid must be wider than the least one for that.
	tooNarrow = 4
)

// Detector scores the values of a series. The zero value is ready.
type Detector struct {
	fine, coarse scale
	// epochs are the least and the greatest value of the present epoch and of the one before.
	epochs [2]span

	n    uint64  // values since the series began, or began anew
	age  uint64  // values since the series began
	sum  float64 // of the values of the block that has not ended
	tail float64 // what the coarse scale said last
}

// span is the least and the greatest of some values.
type span struct{ low, high float32 }

func (s *span) add(x float32, first bool) {
	if first {
		*s = span{x, x}
	}
	*s = span{min(s.low, x), max(s.high, x)}
}

// Score is what a Detector says of a value.
type Score struct {
	// Value is the score, 0 to MaxScore.
	Value float64
	// Fine and Coarse are what the scales say, -log10 of a tail probability.
	Fine, Coarse float64
	// Far says that the value was outside of everything seen by more than half of that.
	Far bool
}

// Add scores x against the values before it, and learns it. x must be finite, and of a size whose square is, too.
func (d *Detector) Add(x float64) (s Score) {
	s.Far = d.n >= fineKind.warm && d.fine.far(x)
	s.Fine = d.fine.add(x, d.n, &fineKind)
	d.epochs[0].add(float32(x), d.n%epochLength == 0)
	d.n++
	d.age++
	if d.sum += x; d.n%block == 0 {
		d.tail = d.coarse.add(d.sum/block, d.n/block-1, &coarseKind)
		d.sum = 0
	}
	if d.n >= block*coarseFrom {
		s.Coarse = d.tail
	}
	s.Value = s.of(d.n)
	if d.n%epochLength == 0 {
		d.endEpoch()
	}
	return s
}

// of is the score of a value that is the n-th of its series.
func (s *Score) of(n uint64) float64 {
	if n < Silent {
		return 0
	}
	sum := s.Fine + s.Coarse
	if s.Far {
		sum = max(sum, farScore)
	}
	return min(MaxScore, float64(factor*sum)/(1+young/float64(n)))
}

// endEpoch has the series begin anew when its grid is much too wide for what it has done for two epochs: a huge value long
// ago has made it so. A grid that is no wider than that of a series which stands still is never too wide.
func (d *Detector) endEpoch() {
	both := d.epochs[0]
	if d.n > epochLength {
		both = span{min(both.low, d.epochs[1].low), max(both.high, d.epochs[1].high)}
	}
	low, high, width := float64(both.low), float64(both.high), d.fine.width
	if high-low < width/useless && width > tooNarrow*max(floor*level(low, high), least) {
		*d = Detector{age: d.age}
		return
	}
	d.epochs[1] = d.epochs[0]
}

// Age is how many values the series has had.
func (d *Detector) Age() uint64 { return d.age }

// Seen says which plane the last value was furthest from, of the scale that said most of s: how many values ago the other value of the pair
// was, and whether the pair is of means over 24 values. A lag of 0 is none.
func (d *Detector) Seen(s Score) (lag uint64, coarse bool) {
	if s.Coarse > s.Fine {
		return d.coarse.widest() * block, true
	}
	return d.fine.widest(), false
}
