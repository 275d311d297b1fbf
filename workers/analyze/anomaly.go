package analyze

import (
	"math"
	"time"
)

// maxScore caps scores: below 10^-16 a tail estimated from some hundred values means nothing.
const maxScore = 16

const (
	levelWeight = 0.02 // weight of a value in the mean, about 50 values
	tailLevel   = 0.98 // the quantile above which a channel's tail begins
	clip        = 16   // parts of a tail's excess; with 8, series that are mostly 0 or go between two levels are told more often
	settling    = 3    // values without which a variance says nothing
)

// detector scores the values of one series. The zero value is ready.
type detector struct {
	n         uint64
	mean      moving // the level
	step      moving // the size of steps
	last      float64
	low, high float64

	level, jump, novelty tail

	moving     float64 // the share of values that differ from the one before, of late
	fractional bool    // not all values are whole numbers

	told     bool
	toldAt   int64  // Unix nanoseconds
	toldN    uint64 // how many values there were
	lastPeak float64
}

// A series that stands still has shown no scale. These parts of its level are the floor of the scale then, and
// where all of its values move.
const (
	stillFloor  = 0.03
	movingFloor = 1e-3
)

// floor is the least that a deviation is measured in, before x: a flat series must not be divided by nothing. The
// smallest step of its own unit is no anomaly: of whole numbers that is 1. unit is that of x; 0 = unknown.
func (d *detector) floor(x, unit float64) float64 {
	if unit == 0 && !d.fractional && x == math.Trunc(x) {
		unit = 1
	}
	part := movingFloor + (stillFloor-movingFloor)*(1-d.moving)
	return max(math.Abs(d.mean.mean)*part, unit, 1e-9)
}

// moving is an exponentially weighted mean and variance.
type moving struct{ mean, variance float64 }

// add learns part of how far x is from the mean.
func (m *moving) add(x, part, weight float64) {
	d := (x - m.mean) * part
	m.mean += weight * d
	m.variance = (1 - weight) * (m.variance + weight*d*d)
}

// distance is how many standard deviations x is away; floor keeps a flat series from
// dividing by nothing.
func (m *moving) distance(x, floor float64) float64 {
	return math.Abs(x-m.mean) / max(math.Sqrt(m.variance), floor)
}

// Before a channel has shown its tail it is taken to be this wide: wider than that of a
// normal distribution (2.3 and 0.4), so that a young series is not believed too early.
const (
	priorQuantile = 3.0
	priorExcess   = 1.0
)

// tail turns the values of a channel into tail probabilities.
type tail struct {
	n        uint64
	quantile float64 // of the channel, at tailLevel
	excess   float64 // mean of what lies above it
}

// score is -log10 of the probability that the channel exceeds z.
func (t *tail) score(z float64) float64 {
	if z <= t.quantile || t.n == 0 {
		return 0
	}
	return min(maxScore, -math.Log10(1-tailLevel)+(z-t.quantile)/max(t.excess, 0.1)*math.Log10E)
}

// learn moves quantile and excess towards z: stochastic approximation of the quantile
// (Robbins-Monro) with steps in the scale of the channel.
func (t *tail) learn(z float64) {
	if t.n == 0 {
		t.quantile, t.excess = priorQuantile, priorExcess
	}
	t.n++
	z = min(z, t.quantile+8*max(t.excess, 1)) // one anomaly must not become the norm
	if t.n == 1 {
		t.quantile = max(z, t.quantile)
		return
	}
	step := max(t.quantile, 0.1) * weightOf(t.n, 0.01)
	if z > t.quantile {
		t.excess += (z - t.quantile - t.excess) * 0.05
		t.quantile += step * tailLevel
	} else {
		t.quantile -= step * (1 - tailLevel)
	}
}

// part is how much of a deviation z is learned. What is far out even for the tail is clipped: learned whole, one huge value
// would hide for hours what follows it. A new level is still learned within a warm-up, as the deviation that is the measure grows
// with every value. This is Huber's clipping of exponential smoothing (Gelper, Fried and Croux 2010, who clip at 2
// deviations), but by the tail, which in a series with a heavy one is far.
func (t *tail) part(z float64) float64 {
	most := t.quantile + clip*max(t.excess, 1)
	if z <= most {
		return 1
	}
	return most / z
}

// add scores x against the values before it and learns it. unit is its smallest step, where that is known, else 0. expected is the
// mean before x. ok is false during the first warmup values.
func (d *detector) add(x, unit float64, warmup int) (score, expected float64, ok bool) {
	expected = d.mean.mean
	d.n++
	if d.n == 1 {
		d.mean.mean, d.last, d.low, d.high = x, x, x, x
		d.fractional = x != math.Trunc(x)
		return 0, x, false
	}
	floor := d.floor(x, unit)
	level := d.mean.distance(x, floor)
	jump := d.step.distance(x-d.last, floor)
	novelty := d.outside(x, floor)
	if d.n > uint64(warmup) {
		ok = true
		score = max(d.level.score(level), d.jump.score(jump), d.novelty.score(novelty))
	}
	if d.n > max(uint64(warmup)/2, settling) { // before that, means and variances are still settling
		d.level.learn(level)
		d.jump.learn(jump)
		d.novelty.learn(novelty)
	}
	weight := weightOf(d.n, levelWeight)
	partOfStep, part := 1.0, 1.0
	if ok { // a young series has no measure yet
		partOfStep, part = d.jump.part(jump), d.level.part(level)
	}
	d.moving += weight * (float64(one(x != d.last)) - d.moving)
	d.fractional = d.fractional || x != math.Trunc(x)
	d.step.add(x-d.last, partOfStep, weight)
	d.mean.add(x, part, weight)
	d.last, d.low, d.high = x, min(d.low, x), max(d.high, x)
	return score, expected, ok
}

// weightOf is max(least, 1/n), mostly without a division.
func weightOf(n uint64, least float64) float64 {
	if float64(n)*least > 1 {
		return least
	}
	return max(least, 1/float64(n))
}

// outside is how far x lies outside the range seen so far, in parts of a tenth of the range; a part is no less than floor,
// like a deviation.
func (d *detector) outside(x, floor float64) float64 {
	width := max(d.high-d.low, 10*floor)
	return 10 * max(0, d.low-x, x-d.high) / width
}

// quiet is how long an anomaly of the same height is not told again, in event time. A rebuilt detector knows of it: see
// rebuildAnomaly.
const quiet = 30 * time.Minute

// quietValues are quiet as well: of a series with one value an hour, the way back from a peak is no news.
const quietValues = 5

// news says whether a score is worth telling, and remembers that it was.
func (d *detector) news(score, threshold float64, at int64) bool {
	if score < threshold || (d.told && (near(at, d.toldAt, quiet) || d.n-d.toldN < quietValues) && score < d.lastPeak+2) {
		return false
	}
	d.told, d.toldAt, d.toldN, d.lastPeak = true, at, d.n, score
	return true
}

// near says whether two times are no further apart than span, on either side: times may go back.
func near(a, b int64, span time.Duration) bool {
	after := uint64(a) - uint64(b)
	return after <= uint64(span) || -after <= uint64(span)
}
