package novelty

import (
	"math"
	"math/bits"
)

// A run of equal values is a flatline when it is three times as long as any before it, and has 100 values. A series that has changed
// seldom so far has shown no longest run.
const (
	flatTimes  = 3
	flatValues = 100
	flatRuns   = 10
)

// Flat finds a series that freezes. The zero value is ready.
type Flat struct {
	last         float64
	run, longest uint32 // of equal values: the present run, and the longest before it
	runs         uint8  // that have ended, as far as it counts
	told         bool   // that the present run is too long
}

// Add takes a value and says whether the present run is a flatline. It says so until Tell.
func (f *Flat) Add(x float64) bool {
	if f.run == 0 || x != f.last {
		if f.run > 0 {
			f.runs = min(f.runs+1, flatRuns)
		}
		*f = Flat{last: x, run: 1, longest: max(f.longest, f.run), runs: f.runs}
		return false
	}
	if f.run < math.MaxUint32 {
		f.run++
	}
	return !f.told && f.runs >= flatRuns && f.run >= flatValues && f.run/flatTimes >= f.longest
}

// Tell remembers that the present run was told.
func (f *Flat) Tell() { f.told = true }

// Last is the last value.
func (f *Flat) Last() float64 { return f.last }

// Runs are how long the present run is, and how long the longest before it was, in values.
func (f *Flat) Runs() (now, longest uint64) { return uint64(f.run), uint64(f.longest) }

// Rare is the score, in the scale of Score.Value, of a stretch that is some times as long as the longest of a series of age values: -log10 of the chance that one
// value begins such a stretch, if lengths are exponential.
func Rare(times float64, age uint64) float64 {
	const decimals = 0.30103 // of a bit
	return min(MaxScore, times*decimals*float64(bits.Len64(age)))
}
