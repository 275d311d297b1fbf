package analyze

import (
	"math"
	"slices"
)

// points are the means of a series over equal spans of event time, the newest last.
type points struct {
	values [maxPoints]float64
	n      int
	// The span that is being filled.
	span  int64 // its number since 1970
	sum   float64
	count int
}

// add adds a value at a time (Unix nanoseconds) and says whether a span ended. A value
// that is late for its span counts in the current one.
func (p *points) add(at int64, x float64, width int64) (ended bool) {
	span := at / width
	if p.count == 0 && p.n == 0 {
		p.span = span
	}
	if span > p.span && p.count > 0 {
		p.push(p.sum / float64(p.count))
		if span-p.span >= maxPoints { // a gap longer than the window: what was before is over
			p.n = 0
		}
		p.span, p.sum, p.count, ended = span, 0, 0, p.n > 0
	}
	p.sum += x
	p.count++
	return ended
}

func (p *points) push(x float64) {
	if p.n == maxPoints {
		copy(p.values[:], p.values[1:])
		p.n--
	}
	p.values[p.n] = x
	p.n++
}

// trendResult is what a test of points found. Slopes are per span.
type trendResult struct {
	p                float64 // two-sided
	slope, low, high float64
	n                int
}

// maxP is small because every series is tested again and again: at 0.01 one in a hundred
// tests of mere noise would find something.
const maxP = 0.001

// significant means: unlikely by chance, and at least a twentieth of the level over the
// whole window or twice the scatter around the line.
func (r *trendResult) significant(values []float64, scatter float64) bool {
	change := math.Abs(r.slope) * float64(r.n)
	level := math.Abs(median(slices.Clone(values)))
	return r.p < maxP && (change > 0.05*level && change > 2*scatter)
}

// test is Mann-Kendall's test with tie and autocorrelation correction, and Theil-Sen's
// slope with its 95 % interval. slopes is scratch space.
func (p *points) test(slopes []float64) (r trendResult, scatter float64, _ []float64) {
	v := p.values[:p.n]
	n := float64(p.n)
	s := 0.0
	slopes = slopes[:0]
	for i := range v {
		for j := i + 1; j < len(v); j++ {
			s += sign(v[j] - v[i])
			slopes = append(slopes, (v[j]-v[i])/float64(j-i))
		}
	}
	slices.Sort(slopes)
	r.n, r.slope = p.n, middle(slopes)
	variance := (n*(n-1)*(2*n+5) - ties(v)) / 18
	scatter, rho := residuals(v, r.slope)
	if rho > 0 {
		variance *= (1 + rho) / (1 - min(rho, 0.95))
	}
	if variance <= 0 {
		r.p = 1
		return r, scatter, slopes
	}
	sigma := math.Sqrt(variance)
	z := 0.0
	if s != 0 {
		z = (s - sign(s)) / sigma
	}
	r.p = math.Erfc(math.Abs(z) / math.Sqrt2)
	c := 1.96 * sigma
	m := float64(len(slopes))
	r.low = slopes[clamp(int((m-c)/2), len(slopes))]
	r.high = slopes[clamp(int((m+c)/2), len(slopes))]
	return r, scatter, slopes
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

// ties is the correction term of Kendall's variance: the sum of t(t-1)(2t+5) over groups
// of t equal values.
func ties(v []float64) (sum float64) {
	sorted := slices.Sorted(slices.Values(v))
	for i := 0; i < len(sorted); {
		j := i
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		if t := float64(j - i); t > 1 {
			sum += t * (t - 1) * (2*t + 5)
		}
		i = j
	}
	return sum
}

// residuals returns the median absolute deviation around the line of the given slope, and
// the lag-1 autocorrelation of the deviations.
func residuals(v []float64, slope float64) (scatter, rho float64) {
	rest := make([]float64, len(v))
	mean := 0.0
	for i := range v {
		rest[i] = v[i] - slope*float64(i)
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
	if square > 1e-18*size { // else the points are the line, but for rounding
		rho = cross / square
	}
	for i := range rest {
		rest[i] = math.Abs(rest[i])
	}
	return median(rest), rho
}

// median sorts v and returns its middle.
func median(v []float64) float64 {
	slices.Sort(v)
	return middle(v)
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
