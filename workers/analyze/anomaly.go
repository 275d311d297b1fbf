package analyze

import "math"

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

	quiet    int // values until an anomaly of the same height is told again
	lastPeak float64
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

// add scores x against the values before it and learns it. expected is the mean before x.
// ok is false during the first warmup values.
func (d *detector) add(x float64, warmup int) (score, expected float64, ok bool) {
	expected = d.mean.mean
	d.n++
	if d.n == 1 {
		d.mean.mean, d.last, d.low, d.high = x, x, x, x
		return 0, x, false
	}
	floor := max(math.Abs(d.mean.mean)*1e-3, 1e-9)
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

// told says whether a score is worth telling, and remembers that it was.
func (d *detector) told(score, threshold float64, warmup int) bool {
	if d.quiet > 0 {
		d.quiet--
	}
	if score < threshold || (d.quiet > 0 && score < d.lastPeak+2) {
		return false
	}
	d.quiet, d.lastPeak = warmup, score
	return true
}
