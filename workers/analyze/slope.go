package analyze

import (
	"math"
	"slices"
)

// line is the points of a series as a test of a trend looks at them, and space for the test.
type line struct {
	n      int
	at, v  [maxPoints]float64 // in spans; at[0] is 0
	slopes [maxSlopes]float64
	pairs  [maxSlopes]uint16 // two points each
}

const maxSlopes = maxPoints * (maxPoints - 1) / 2

// set takes the points.
func (l *line) set(p *points) {
	l.n = p.n
	for i := range p.n {
		l.v[i] = float64(p.values[i])
		if i > 0 {
			l.at[i] = l.at[i-1] + float64(p.gaps[i])/parts
		}
	}
}

// slope is that from one point to a later one.
func (l *line) slope(i, j int) float64 { return (l.v[j] - l.v[i]) / (l.at[j] - l.at[i]) }

// all are the slopes between all points, in no order.
func (l *line) all() []float64 {
	slopes := l.slopes[:0]
	for i := range l.n {
		for j := i + 1; j < l.n; j++ {
			slopes = append(slopes, l.slope(i, j))
		}
	}
	return slopes
}

// theilSen is the median of all slopes.
//
// To know it, a slope that is not near it need not be known, only on which side it lies. The
// slopes between points half the window apart are few and vary little: the median mostly is in a
// bracket around theirs. The slope from i to j is above b when v-b*at rises from i to j, so one
// pass that neither divides nor branches counts the slopes below the bracket and collects those
// inside, of which the median is then one whose rank is known. When the count says that it is
// on one side of the bracket, the next bracket is there; when that does not help either, all slopes are
// looked at.
func (l *line) theilSen() float64 {
	if l.n >= fewPoints {
		low, high := l.bracket()
		width := high - low
		for range maxBrackets {
			if !(width > 1e-9*math.Abs(l.v[0]) && width < math.MaxFloat64) {
				break // rounding could take one side for the other
			}
			slope, side := l.medianWithin(low, high)
			switch side {
			case above:
				low, high = high-width/16, high+width
			case under:
				low, high = low-width, low+width/16
			default:
				return slope
			}
		}
	}
	return median(l.all())
}

const (
	// fewPoints have so few slopes that a bracket would not pay.
	fewPoints = 16
	// bracketWidth is in median deviations of the slopes over half the window. A seventh of all slopes lie
	// in such a bracket of 60 points; the first one holds the median of noise in 97 of 100 tests, that
	// of a step in two of three.
	bracketWidth = 0.6
	// maxBrackets are as many as take less time than all slopes.
	maxBrackets = 5
)

// side is where the median lies, seen from a bracket.
type side int8

const (
	within side = iota
	under
	above
)

func (l *line) bracket() (low, high float64) {
	half := l.n / 2
	slopes := l.slopes[:l.n-half]
	for i := range slopes {
		slopes[i] = l.slope(i, i+half)
	}
	middle := median(slopes)
	for i, s := range slopes {
		slopes[i] = math.Abs(s - middle)
	}
	width := bracketWidth * median(slopes)
	return middle - width, middle + width
}

// medianWithin is the median of all slopes, if it lies clearly between two; else it says on which
// side of them to look.
func (l *line) medianWithin(low, high float64) (slope float64, where side) {
	var spaceLow, spaceHigh [maxPoints]float64
	fromLow, fromHigh := spaceLow[:l.n], spaceHigh[:l.n]
	for i := range fromLow {
		fromLow[i], fromHigh[i] = l.v[i]-low*l.at[i], l.v[i]-high*l.at[i]
	}
	below, inside := 0, 0
	for i := range fromLow {
		a, b := fromLow[i], fromHigh[i]
		later := fromHigh[i+1:]
		for j, x := range fromLow[i+1:] {
			less := one(x <= a)
			below += less
			l.pairs[inside] = uint16(i<<8 | (i + 1 + j))
			inside += 1 ^ (less | one(later[j] >= b))
			inside = min(inside, maxSlopes-1)
		}
	}
	total := l.n * (l.n - 1) / 2
	rank := total/2 - below
	switch {
	case rank < 1:
		return 0, under
	case rank >= inside:
		return 0, above
	}
	slopes := l.slopes[:inside]
	for k, pair := range l.pairs[:inside] {
		slopes[k] = l.slope(int(pair>>8), int(pair&0xff))
	}
	nth(slopes, rank)
	lower, upper := slopes[rank], slopes[rank]
	if total%2 == 0 {
		lower = slices.Max(slopes[:rank])
	}
	// A slope at an edge may be taken for one on its other side, which changes no rank further inside.
	edge := (high - low) / 256
	switch {
	case lower < low+edge:
		return 0, under
	case upper > high-edge:
		return 0, above
	case total%2 == 0:
		return (lower + upper) / 2, within
	}
	return upper, within
}
