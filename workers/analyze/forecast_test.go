package analyze

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// rising are series that rise by about one in a span. Those of the first group were looked at when the forecast was made, those of the second were not.
var rising = []map[string]func(r *rand.Rand) func(i int) float64{
	{
		"line":        noisy(func(r *rand.Rand) float64 { return 3 * r.NormFloat64() }),
		"noisy line":  noisy(func(r *rand.Rand) float64 { return 12 * r.NormFloat64() }),
		"heavy noise": noisy(func(r *rand.Rand) float64 { return 3 * r.NormFloat64() / math.Sqrt(-2*math.Log(1-r.Float64())/2) }),
		"AR .5":       wandering(0.5, 6*math.Sqrt(0.75)),
		"AR .9":       wandering(0.9, 6*math.Sqrt(0.19)),
		"walk":        wandering(1, 1),
		"wild walk":   wandering(1, 3),
		"saw": func(r *rand.Rand) func(i int) float64 {
			return func(i int) float64 { return float64(i) + 10*float64(i%7)/7 + r.NormFloat64() }
		},
		"steps": func(r *rand.Rand) func(i int) float64 {
			v := 0.0
			return func(int) float64 {
				if r.IntN(8) == 0 {
					v += 16 * r.Float64()
				}
				return v + 0.5*r.NormFloat64()
			}
		},
		"bends down": func(r *rand.Rand) func(i int) float64 {
			return func(i int) float64 { return 300*math.Sqrt(float64(i)/64) + 3*r.NormFloat64() }
		},
		"bends up": func(r *rand.Rand) func(i int) float64 {
			return func(i int) float64 { return float64(i*i)/64 + 3*r.NormFloat64() }
		},
	},
	{
		"arrivals": func(r *rand.Rand) func(i int) float64 { // a queue that fills
			v := 0.0
			return func(int) float64 {
				v += -3 * math.Log(1-r.Float64()) * float64(r.IntN(2))
				return v
			}
		},
		"compound": func(r *rand.Rand) func(i int) float64 {
			v := 100.0
			return func(int) float64 {
				v *= math.Exp(0.008 + 0.01*r.NormFloat64())
				return v
			}
		},
		"noise grows": func(r *rand.Rand) func(i int) float64 {
			return func(i int) float64 { return float64(i) * (1 + 0.1*r.NormFloat64()) }
		},
		"garbage": func(r *rand.Rand) func(i int) float64 {
			return func(i int) float64 { return float64(i) + 20*math.Pow(float64((i*i+3)%11)/11, 2) + r.NormFloat64() }
		},
		"AR .7, uneven": wandering(0.7, 4),
		"rate changes": func(r *rand.Rand) func(i int) float64 {
			v, rate := 0.0, 1.0
			return func(int) float64 {
				rate = 1 + 0.97*(rate-1) + 0.08*r.NormFloat64()
				v += rate
				return v + r.NormFloat64()
			}
		},
		"rounded": noisy(func(r *rand.Rand) float64 { return math.Round(4 * r.NormFloat64()) }),
	},
}

func noisy(noise func(r *rand.Rand) float64) func(r *rand.Rand) func(i int) float64 {
	return func(r *rand.Rand) func(i int) float64 { return func(i int) float64 { return float64(i) + noise(r) } }
}

func wandering(rho, sd float64) func(r *rand.Rand) func(i int) float64 {
	return func(r *rand.Rand) func(i int) float64 {
		x := 0.0
		return func(i int) float64 {
			x = rho*x + sd*r.NormFloat64()
			return float64(i) + x
		}
	}
}

// TestForecast: 85 to 95 of 100 series are at their limit within the 90 % that was said, also of shapes that nobody had looked at.
func TestForecast(t *testing.T) {
	for group, shapes := range rising {
		in, of := 0, 0
		for _, name := range slices.Sorted(maps.Keys(shapes)) {
			for _, ahead := range []float64{0.1, 0.3, 1} { // of what the series has risen by in its window
				got, n := held(shapes[name], ahead, 200)
				if n < 20 {
					continue
				}
				t.Logf("%-13s %3.1f windows ahead: %.2f of %d", name, ahead, float64(got)/float64(n), n)
				least := 0.7
				if name == "compound" || name == "noise grows" { // they are earlier than what a window shows: docs/stages/analyze.md says so
					least = 0.4
				}
				if float64(got) < least*float64(n) {
					t.Errorf("%s, %.1f windows ahead: %d of %d within the 90 %%", name, ahead, got, n)
				}
				in, of = in+got, of+n
			}
		}
		t.Logf("group %d: %.3f of %d", group, float64(in)/float64(of), of)
		if share := float64(in) / float64(of); share < 0.85 || share > 0.95 {
			t.Errorf("group %d: %.3f within the 90 %%, want 0.85 to 0.95", group, share)
		}
	}
}

// held is how many of n series were at their limit when the forecast said.
func held(shape func(r *rand.Rand) func(i int) float64, ahead float64, series int) (in, n int) {
	const ends = 2 * farthest * maxPoints
	for seed := range series {
		next := shape(rand.New(rand.NewPCG(uint64(seed), 7)))
		var p points
		for i := range maxPoints {
			p.push(1000+next(i), parts)
		}
		var l line
		found := p.slope(&l)
		if found.slope <= 0 || !p.significant(&l, &found) {
			continue
		}
		found.low, found.high = found.interval(&l)
		limit := l.v[l.n-1] + ahead*found.change()
		said := l.forecast(limit, &found)
		at := 1
		for ; at < ends && 1000+next(maxPoints-1+at) < limit; at++ {
		}
		n++
		if float64(at) >= said.low && float64(at) <= said.high {
			in++
		}
	}
	return in, n
}

func TestForecastInWords(t *testing.T) {
	const hour = time.Hour
	for want, f := range map[string]forecast{
		"in 3h20m0s (90 %: 2h50m0s to 4h10m0s)":          {2*hour + 50*time.Minute, 3*hour + 20*time.Minute, 4*hour + 10*time.Minute + 3*time.Second},
		"in 9m31s (90 %: 0s to 59m0s)":                   {0, 9*time.Minute + 31*time.Second, 59 * time.Minute},
		"in 3h20m0s or later (90 %: not before 2h50m0s)": {2*hour + 50*time.Minute, 3*hour + 20*time.Minute, endless},
		"not before 2h50m0s in 19 of 20 cases":           {2*hour + 50*time.Minute, endless, endless},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// BenchmarkForecast is one forecast, an hour's rise ahead.
func BenchmarkForecast(b *testing.B) {
	next := rising[0]["walk"](rand.New(rand.NewPCG(1, 2)))
	var p points
	for i := range maxPoints {
		p.push(1000+next(i), parts)
	}
	var l line
	found := p.slope(&l)
	found.variance = p.variance()
	found.low, found.high = found.interval(&l)
	b.ReportAllocs()
	for b.Loop() {
		l.forecast(l.v[l.n-1]+found.change(), &found)
	}
}
