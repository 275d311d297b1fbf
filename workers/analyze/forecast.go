package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// forecast says when a rising series is at a limit, from now: one of 20 futures is there before low, one of two before middle, and one of 20
// not before high. endless = not within farthest.
type forecast struct{ low, middle, high time.Duration }

const endless = time.Duration(math.MaxInt64)

func (f forecast) String() string {
	switch {
	case f.middle == endless:
		return "not before " + roughly(f.low) + " in 19 of 20 cases"
	case f.high == endless:
		return "in " + roughly(f.middle) + " or later (90 %: not before " + roughly(f.low) + ")"
	}
	return fmt.Sprintf("in %s (90 %%: %s to %s)", roughly(f.middle), roughly(f.low), roughly(f.high))
}

// roughly rounds a time as exactly as a forecast can be.
func roughly(d time.Duration) string {
	if d > 10*time.Minute {
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Second).String()
}

const (
	// paths are how many futures a forecast looks at.
	paths = 200
	// farthest is how far it looks, in windows.
	farthest = 16
	// block is how many points of the past stand together in a future: what they have to do with one another stays.
	block = 8
	// drift is how much a slope changes in a window, as a part of it (a standard deviation): no rate stays for ever what it was.
	drift = 0.15
	// around is how many points on each side make the level of a point.
	around = 4
)

// times are when futures reach a limit, in spans from the last point; Inf = not within farthest.
type times struct{ low, middle, high float64 }

// forecast looks at futures of points of a significant trend, whose interval is known. A future goes on with a slope as the interval and the last half make
// it likely, wanders as the points do, and has blocks of their noise, as it was in the last half. It takes less than a millisecond, and is the same each time for the same points.
//
// How much the points wander shows in how the variance of their differences grows with the distance (the variogram): that of noise does not, that of a walk does.
// TestForecast holds how often the limit is reached within the 90 %.
func (l *line) forecast(limit float64, t *trendResult) times {
	n, length := l.n, l.at[l.n-1]
	gap := length / float64(n-1)
	slope, doubt := l.lately(t.slope)
	var space, noise [maxPoints]float64
	rest := space[:n]
	for i := range rest {
		rest[i] = l.v[i] - slope*l.at[i]
	}
	base := median(slices.Clone(rest))
	for i := range rest {
		rest[i] -= base
	}
	fast := 0.0 // variance of the noise
	for i := range rest {
		near := rest[max(0, i-around):min(n, i+around+1)]
		noise[i] = (rest[i] - mean(near)) * math.Sqrt(float64(len(near))/float64(len(near)-1))
		fast += square(noise[i]) / float64(n)
	}
	far := min(16, n/3)
	long := (variance(rest, far) - variance(rest, far/4)) / (float64(far-far/4) * gap)
	short := (variance(rest, 4) - variance(rest, 1)) / (3 * gap)
	// The variance that a walk adds with each span. A half more, since points that were taken for a trend wander less than others.
	walk := max(0, 1.5*min(max(long, short), 4*long))
	// The level is followed as a Kalman filter does that knows both.
	gain := 1.0
	if fast > 0 {
		r := walk * gap / fast
		gain = max((math.Sqrt(r*r+4*r)-r)/2, 2/float64(n))
	}
	level := 0.0
	for _, x := range rest {
		level += gain * (x - level)
	}
	doubt = math.Sqrt(square(doubt) + square((t.high-t.low)/(2*1.96)) + 1.5*walk/length)
	turn := drift * t.slope * gap / math.Sqrt(float64(n))
	below := base + slope*length + level - limit
	random := rand.New(rand.NewPCG(math.Float64bits(l.v[n-1]), math.Float64bits(t.slope)))
	reached := make([]float64, paths)
	for k := range reached {
		x, rise := below+math.Sqrt(gain*fast)*random.NormFloat64(), (slope+doubt*random.NormFloat64())*gap
		reached[k] = math.Inf(1)
		for step, i := 1, 0; step <= farthest*n; step, i = step+1, i+1 {
			if step%block == 1 {
				i = n/2 + random.IntN(max(1, n-n/2-block))
			}
			rise += turn * random.NormFloat64()
			x += rise + math.Sqrt(walk*gap)*random.NormFloat64()
			if x+noise[i] >= 0 {
				reached[k] = float64(step) * gap
				break
			}
		}
	}
	slices.Sort(reached)
	return times{reached[paths/20], reached[paths/2], reached[paths-1-paths/20]}
}

// lately is the slope to go on with, and how much it may be another one because it changes: where the halves differ by more than chance, that of the second with
// a quarter of the difference.
func (l *line) lately(slope float64) (now, doubt float64) {
	half := l.n / 2
	if half < 2*around {
		return slope, 0
	}
	first, u := l.part(0, half)
	second, v := l.part(l.n-half, l.n)
	if changed := second - first; math.Abs(changed) > 3*math.Hypot(u, v) {
		return second + changed/4, math.Abs(changed) / 4
	}
	return slope, 0
}

// part is the slope of some points, with its standard error.
func (l *line) part(from, to int) (slope, sd float64) {
	p := line{n: to - from}
	copy(p.v[:], l.v[from:to])
	for i := range p.n {
		p.at[i] = l.at[from+i] - l.at[from]
	}
	slope = p.theilSen()
	scatter, rho := residuals(p.at[:p.n], p.v[:p.n], slope)
	rho = min(max(rho, 0), 0.95)
	const normal = 1.48 // standard deviations in a median deviation
	return slope, normal * scatter * math.Sqrt(12*(1+rho)/(1-rho)/float64(p.n)) / p.at[p.n-1]
}

// variance is the mean square of the differences between points at a distance.
func variance(v []float64, distance int) (mean float64) {
	for i := range len(v) - distance {
		mean += square(v[i+distance]-v[i]) / float64(len(v)-distance)
	}
	return mean
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

func square(x float64) float64 { return x * x }

// within turns times, of points whose last lies some spans in the past, into what a person is told.
func (t times) within(ago float64, span time.Duration) forecast {
	in := func(spans float64) time.Duration {
		if math.IsInf(spans, 1) {
			return endless
		}
		return time.Duration(max(0, spans-ago) * float64(span))
	}
	return forecast{in(t.low), in(t.middle), in(t.high)}
}
