package analyze

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// shapes are series of every kind that a test of a trend may meet.
var shapes = map[string]func(r *rand.Rand, i, n int) float64{
	"noise":         func(r *rand.Rand, _, _ int) float64 { return 100 + r.NormFloat64() },
	"step":          func(r *rand.Rand, i, n int) float64 { return 100 + r.NormFloat64() + float64(3*(2*i/n)) },
	"ramp":          func(r *rand.Rand, i, _ int) float64 { return 100 + r.NormFloat64() + 0.1*float64(i) },
	"exact ramp":    func(_ *rand.Rand, i, _ int) float64 { return float64(i) },
	"few values":    func(r *rand.Rand, i, _ int) float64 { return float64(i/9 + r.IntN(4)) },
	"constant":      func(*rand.Rand, int, int) float64 { return 7 },
	"mostly zero":   func(r *rand.Rand, _, _ int) float64 { return max(0, float64(r.IntN(5)-3)) },
	"tiny noise":    func(r *rand.Rand, _, _ int) float64 { return 1e9 + 100*r.NormFloat64() },
	"heavy tail":    func(r *rand.Rand, _, _ int) float64 { return math.Exp(5 * r.NormFloat64()) },
	"one far away":  func(r *rand.Rand, i, _ int) float64 { return r.NormFloat64() + float64(i/30*i%2)*1e12 },
	"wave":          func(r *rand.Rand, i, _ int) float64 { return 100 + 20*math.Sin(float64(i)/10) + r.NormFloat64() },
	"about nothing": func(r *rand.Rand, i, _ int) float64 { return float64(i)/100 + r.NormFloat64() },
}

func (l *line) fill(r *rand.Rand, n int, shape func(r *rand.Rand, i, n int) float64) {
	var p points
	for i := range n {
		p.push(shape(r, i, n), 1+r.IntN(2)*r.IntN(3*parts)+parts/2)
	}
	l.set(&p)
}

// TestTheilSen compares with the median of all slopes, to the last bit.
func TestTheilSen(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(31, 32))
			var l line
			for n := 2; n <= maxPoints; n++ {
				for range 30 {
					l.fill(r, n, shape)
					slopes := slices.Sorted(slices.Values(l.all()))
					m := len(slopes)
					want := slopes[m/2]
					if m%2 == 0 {
						want = (slopes[m/2-1] + slopes[m/2]) / 2
					}
					if got := l.theilSen(); got != want {
						t.Fatalf("the slope of %v at %v is %g, want %g", l.v[:l.n], l.at[:l.n], got, want)
					}
				}
			}
		})
	}
}

// BenchmarkTest is a test of 64 points for a trend.
func BenchmarkTest(b *testing.B) {
	for _, name := range []string{"noise", "step", "ramp", "few values"} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(41, 42))
			var of [64]points
			for k := range of {
				for i := range maxPoints {
					of[k].push(shapes[name](r, i, maxPoints), parts)
				}
			}
			var l line
			n := 0
			for b.Loop() {
				p := &of[n%len(of)]
				if r := p.slope(&l); r.large() {
					p.significant(&l, &r)
				}
				n++
			}
		})
	}
}
