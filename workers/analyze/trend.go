package analyze

import (
	"math"
	"slices"
)

// points are the means of a series over equal spans of event time, the newest last. Spans
// without a value have no point.
type points struct {
	values [maxPoints]float32 // 24 bits tell a trend of 5 % well enough
	gaps   [maxPoints]uint16  // time since the point before, in parts of a span
	n      int
	length int // from the first point to the last, in parts of a span
	// Kendall's S of the points and the sum over groups of t equal points of groupTies(t), kept
	// up to date: most tests end there.
	s, ties int

	span   int64   // the one that is being filled, its number since 1970
	sum    float64 // of its values
	at     float64 // of the times of its values, in parts of a span from its start
	count  int
	last   int64   // the time of the last point, in parts of a span since 1970
	behind int     // values in a row that lie before all points
	ahead  waiting // the one before, when it lay behind the window
}

// waiting is a value that waits for another to agree with its time.
type waiting struct {
	span  int64 // 0 = there is none
	x, at float64
}

// parts is how finely the time of a point is known: it is the mean time of its values.
const parts = 1000

// maxBehind values in a row from before the window begin the series anew. One value from far ahead does not: the
// next one must agree, or a host whose clock is wrong for a moment would end the series.
const maxBehind = 8

// testEvery is how many spans pass between two tests of a trend: a test costs some microseconds,
// and one span more changes little. It is counted in event time, so that a test follows from
// the values alone, and not from when the first of them came.
const testEvery = 4

// step is what a value did to the points.
type step struct {
	ended bool // a span ended
	due   bool // a test is due then
	anew  bool // all points of before are gone
}

// add adds a value at a time (Unix nanoseconds). A value that is late for its span counts in the current one, one from
// before the window does not. One from behind the window waits for the next, which may agree that the series begins anew there.
func (p *points) add(at int64, x float64, width int64) (did step) {
	span := at / width
	if p.count == 0 && p.n == 0 {
		p.span = span
	}
	if p.span-span >= maxPoints {
		if p.behind++; p.behind < maxBehind {
			return did
		}
		*p, did.anew = points{span: span}, true
	}
	p.behind = 0
	if span-p.span >= maxPoints && (p.n > 0 || p.count > 0) {
		before := p.ahead
		if before.span == 0 || span < before.span || span-before.span >= maxPoints {
			p.ahead = waiting{span, x, float64(at-span*width) / float64(width) * parts}
			return did
		}
		*p, did.anew = points{span: before.span, sum: before.x, at: before.at, count: 1}, true
	}
	p.ahead = waiting{}
	if span > p.span && p.count > 0 {
		mid := p.span*parts + int64(p.at/float64(p.count))
		p.push(p.sum/float64(p.count), int(min(mid-p.last, maxPoints*parts)))
		p.last, did.ended, did.due = mid, true, span/testEvery != p.span/testEvery
		p.span, p.sum, p.at, p.count = span, 0, 0, 0
	}
	p.sum += x
	p.at += max(0, float64(at-p.span*width)) / float64(width) * parts
	p.count++
	return did
}

// push appends a point, gap parts of a span behind the last, and drops those that the window has passed.
func (p *points) push(x float64, gap int) {
	gap = max(gap, 1)
	for p.n == maxPoints || (p.n > 0 && p.length+gap >= maxPoints*parts) {
		p.drop()
	}
	if p.n > 0 {
		p.length += gap
	}
	v := float32(x)
	above, below := order(p.values[:p.n], v)
	p.s += below - above
	p.ties += moreTies(p.n - above - below)
	p.values[p.n], p.gaps[p.n] = v, uint16(gap)
	p.n++
}

// drop forgets the oldest point.
func (p *points) drop() {
	above, below := order(p.values[1:p.n], p.values[0])
	p.s -= above - below
	p.ties -= moreTies(p.n - 1 - above - below)
	if p.n > 1 {
		p.length -= int(p.gaps[1])
	}
	copy(p.values[:], p.values[1:p.n])
	copy(p.gaps[:], p.gaps[1:p.n])
	p.n--
}

// order counts the values above and below v.
func order(values []float32, v float32) (above, below int) {
	for _, x := range values {
		above += one(x > v) // without a branch, which would be a coin toss
		below += one(x < v)
	}
	return above, below
}

func one(b bool) (n int) {
	if b {
		n = 1
	}
	return n
}

// groupTies is what t equal points take from Kendall's variance, times 18; for all points
// together it is the variance itself.
func groupTies(t int) int { return t * (t - 1) * (2*t + 5) }

// moreTies is how much that grows when t equal points become one more.
func moreTies(t int) int { return groupTies(t+1) - groupTies(t) }

// variance is that of Kendall's S when there is no trend, with ties.
func (p *points) variance() float64 {
	return float64(groupTies(p.n)-p.ties) / 18
}

// chance is the two-sided p of S at a variance: how likely a series without a trend shows it.
func (p *points) chance(variance float64) float64 {
	s := float64(p.s)
	if variance <= 0 || s == 0 {
		return 1
	}
	return math.Erfc((math.Abs(s) - 1) / math.Sqrt(2*variance))
}

// surelyWeak says that chance is above weakP at a variance, for most series that show no trend,
// without looking how much. False says nothing.
func (p *points) surelyWeak(variance float64) bool {
	s := math.Abs(float64(p.s)) - 1
	return s*s < 2*variance*weakZ2
}

// weakP is the p above which a trend that was told is over, and weakZ2 a little less than the
// square of the argument at which erfc is weakP, 1.38590.
const (
	weakP  = 0.05
	weakZ2 = 1.92
)

// trendResult is what a test of points found. Slopes are per span.
type trendResult struct {
	p, variance      float64 // p is two-sided
	slope, low, high float64 // low and high: see interval
	n                int
	length           float64 // spans from the first point to the last
	scatter          float64 // median absolute deviation around the line
	level            float64 // median
}

// maxP is small because every series is tested again and again: at 0.01 one in a hundred
// tests of mere noise would find something.
const maxP = 0.001

// change is what the slope makes over the window.
func (r *trendResult) change() float64 { return math.Abs(r.slope) * r.length }

// matters is the part of the level that a change must be to be told.
const matters = 0.05

// large says that what the slope makes over the window is worth telling.
func (r *trendResult) large() bool { return r.change() > matters*math.Abs(r.level) }

// reaches says that the slope makes what is left to a limit within a time, in spans, and that this is worth
// telling: over the window, or for a slow leak until the limit.
func (r *trendResult) reaches(left, within float64) bool {
	return r.slope*within >= left && (r.large() || left > matters*math.Abs(r.level))
}

// slope is Theil-Sen's of the points, with their level.
func (p *points) slope(l *line) (r trendResult) {
	l.set(p)
	r.n, r.length, r.slope = p.n, l.at[p.n-1], l.theilSen()
	var sorted [maxPoints]float64
	copy(sorted[:], l.v[:p.n])
	r.level = median(sorted[:p.n])
	return r
}

// significant is Mann-Kendall's test with tie and autocorrelation correction, which it adds to what the slope says: a trend is
// unlikely by chance, and makes at least twice the scatter around the line.
func (p *points) significant(l *line, r *trendResult) bool {
	r.variance = p.variance()
	var rho float64
	r.scatter, rho = residuals(l.at[:p.n], l.v[:p.n], r.slope)
	if rho > 0 {
		r.variance *= (1 + rho) / (1 - min(rho, 0.95))
	}
	r.p = p.chance(r.variance)
	return r.p < maxP && r.change() > 2*r.scatter
}

// interval is the 95 % interval of the slope of a significant trend. It looks at all slopes,
// which costs more than all the rest.
func (r *trendResult) interval(l *line) (low, high float64) {
	slopes := l.all()
	c, m := 1.96*math.Sqrt(r.variance), float64(len(slopes))
	from, to := clamp(int((m-c)/2), len(slopes)), clamp(int((m+c)/2), len(slopes))
	nth(slopes, to)
	nth(slopes[:to+1], from)
	return slopes[from], slopes[to]
}

func clamp(i, n int) int { return max(0, min(i, n-1)) }

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// residuals returns the median absolute deviation around the line of the given slope, and
// the lag-1 autocorrelation of the deviations.
func residuals(at, v []float64, slope float64) (scatter, rho float64) {
	var space [maxPoints]float64
	rest := space[:len(v)]
	mean := 0.0
	for i := range v {
		rest[i] = v[i] - slope*at[i]
		mean += rest[i] / float64(len(v))
	}
	var cross, square, size float64
	for i := range rest {
		rest[i] -= mean
		size += v[i] * v[i]
		square += rest[i] * rest[i]
		if i > 0 {
			cross += rest[i] * rest[i-1]
		}
	}
	if square > 1e-13*size { // else the points are the line, but for rounding to 24 bits
		rho = cross / square
	}
	for i := range rest {
		rest[i] = math.Abs(rest[i])
	}
	return median(rest), rho
}

// median returns the middle of v, whose values it moves.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return 0
	}
	nth(v, n/2)
	if n%2 == 1 {
		return v[n/2]
	}
	return (slices.Max(v[:n/2]) + v[n/2]) / 2
}

// nth moves the values of v so that the one at n is as if they were sorted, with none before
// it that is larger (Hoare's FIND, 1961).
func nth(v []float64, n int) {
	for lo, hi := 0, len(v)-1; lo < hi; {
		pivot := v[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for pivot < v[j] {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			hi = j
		case n >= i:
			lo = i
		default:
			return
		}
	}
}
