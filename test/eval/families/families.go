package families

import (
	"math"
	"math/rand/v2"
)

// Month is how many values a series of one a minute has in 30 days.
const Month = 30 * day

const day = 24 * 60

// Family is a kind of clean series.
type Family struct {
	Name string
	// New begins a series, which is a function of the seed alone; each call of what it returns makes the next value.
	New func(seed uint64) func() float64
}

// Values are the first n values of the series of a seed.
func (f *Family) Values(seed uint64, n int) []float64 {
	next := f.New(seed)
	values := make([]float64, n)
	for i := range values {
		values[i] = next()
	}
	return values
}

// All are the families. A day has 1,440 values.
func All() []Family {
	return []Family{
		{"white noise", each(func(r *rand.Rand) float64 { return 100 + r.NormFloat64() })},
		{"uniform", each(func(r *rand.Rand) float64 { return r.Float64() })},
		{"autoregressive .9", autoregressive(0.9)},
		{"autoregressive .99", autoregressive(0.99)},
		{"random walk", autoregressive(1)},
		{"log-normal", each(func(r *rand.Rand) float64 { return math.Exp(0.5 * r.NormFloat64()) })},
		{"Student's t, 3", each(student3)},
		{"exponential", each(func(r *rand.Rand) float64 { return r.ExpFloat64() })},
		{"daily wave", wave(func(w float64, r *rand.Rand, _ int) float64 { return 100 + 30*w + 2*r.NormFloat64() })},
		{"daily wave, multiplied", wave(func(w float64, r *rand.Rand, _ int) float64 {
			return 100 * (1.1 + w) * math.Exp(0.1*r.NormFloat64())
		})},
		{"daily wave, weekends", wave(func(w float64, r *rand.Rand, i int) float64 {
			if i/day%7 >= 5 {
				w *= 0.4
			}
			return 100 + 30*w + 4*r.NormFloat64()
		})},
		{"Poisson .2", each(func(r *rand.Rand) float64 { return poisson(r, 0.2) })},
		{"Poisson 5", each(func(r *rand.Rand) float64 { return poisson(r, 5) })},
		{"Poisson 200", each(func(r *rand.Rand) float64 { return math.Round(200 + math.Sqrt(200)*r.NormFloat64()) })},
		{"rare spikes", each(rareSpikes)},
		{"cron spikes", counted(cronSpikes)},
		{"on and off", onOff},
		{"heap with collections", heap},
		{"latency p99", each(func(r *rand.Rand) float64 { return 20 * -math.Log(1-math.Pow(r.Float64(), 0.01)) })},
		{"constant", each(func(*rand.Rand) float64 { return 42 })},
		{"disk with clean-ups", disk},
	}
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6e6f76656c)) }

// each makes a series of independent values.
func each(value func(*rand.Rand) float64) func(uint64) func() float64 {
	return counted(func(r *rand.Rand, _ int) float64 { return value(r) })
}

// counted makes a series of values that depend on which one it is.
func counted(value func(r *rand.Rand, i int) float64) func(uint64) func() float64 {
	return func(seed uint64) func() float64 {
		r, i := source(seed), -1
		return func() float64 { i++; return value(r, i) }
	}
}

func autoregressive(phi float64) func(uint64) func() float64 {
	return func(seed uint64) func() float64 {
		r, v := source(seed), 0.0
		return func() float64 { v = phi*v + r.NormFloat64(); return 1000 + v }
	}
}

func wave(value func(w float64, r *rand.Rand, i int) float64) func(uint64) func() float64 {
	return counted(func(r *rand.Rand, i int) float64 { return value(math.Sin(2*math.Pi*float64(i)/day), r, i) })
}

func student3(r *rand.Rand) float64 {
	sum := 0.0
	for range 3 {
		x := r.NormFloat64()
		sum += x * x
	}
	return 100 + r.NormFloat64()/math.Sqrt(sum/3)
}

// poisson is Knuth's.
func poisson(r *rand.Rand, mean float64) (n float64) {
	for p := r.Float64(); p > math.Exp(-mean); p *= r.Float64() {
		n++
	}
	return n
}

func rareSpikes(r *rand.Rand) float64 {
	v := 10 + r.NormFloat64()
	if r.IntN(200) == 0 {
		v += 20 + 10*r.Float64()
	}
	return v
}

// cronSpikes is a job that runs each hour for two minutes.
func cronSpikes(r *rand.Rand, i int) float64 {
	v := 2 + 0.2*r.NormFloat64()
	if i%60 < 2 {
		v += 50 + 5*r.NormFloat64()
	}
	return v
}

func onOff(seed uint64) func() float64 {
	r, on := source(seed), false
	return func() float64 {
		if r.IntN(60) == 0 {
			on = !on
		}
		if on {
			return 100 + 3*r.NormFloat64()
		}
		return 5 + r.NormFloat64()
	}
}

func heap(seed uint64) func() float64 {
	r, used, limit := source(seed), 100.0, 400.0
	return func() float64 {
		if used += 5 * r.Float64(); used > limit {
			used, limit = 100+10*r.NormFloat64(), 400+15*r.NormFloat64()
		}
		return used
	}
}

// disk fills in a day, until what is old is removed.
func disk(seed uint64) func() float64 {
	r, used := source(seed), 40.0
	return func() float64 {
		if used += 40.0 / day * 2 * r.Float64(); used > 80 {
			used = 40 + r.Float64()
		}
		return used
	}
}
