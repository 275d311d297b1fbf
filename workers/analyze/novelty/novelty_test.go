package novelty

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"millrace.dev/millrace/test/eval/families"
)

// TestSize holds what the documentation says of the memory of a series.
func TestSize(t *testing.T) {
	all := unsafe.Sizeof(Detector{}) + unsafe.Sizeof(Alarm{}) + unsafe.Sizeof(Flat{}) + unsafe.Sizeof(Rhythm{})
	if detector := unsafe.Sizeof(Detector{}); detector != 1328 || float64(all) > 1.4*1024 {
		t.Errorf("a detector takes %d bytes, want 1328; with alarm, run and rhythm %d, want at most 1.4 KiB", detector, all)
	}
}

// stories are series that no family has: outliers, other levels, jumps of a size that no grid has, few values.
func stories() map[string][]float64 {
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(n int, level, spread float64) (v []float64) {
		for range n {
			v = append(v, level+spread*r.NormFloat64())
		}
		return v
	}
	outlier := noise(9000, 10, 1)
	outlier[500] = 1e6
	below := noise(3000, 10, 1)
	below[700], below[900] = -4000, 1e12
	integers := noise(3000, 0, 0)
	for i := range integers {
		integers[i] = float64(r.IntN(4) * r.IntN(9))
	}
	return map[string][]float64{
		"noise": noise(5000, 0, 1), "outlier": outlier, "both sides": below, "levels": append(noise(2500, 5, 1), noise(2500, 40, 0.1)...),
		"nothing": make([]float64, 9000), "nothing, then one": append(make([]float64, 9000), 1, 0, 0), "integers": integers,
		"large": noise(3000, 1e12, 3), "small": noise(3000, 0, 1e-12), "short": noise(49, 1, 1),
	}
}

// TestSameAsInWords: the bits come to what the words say, to the last digit.
func TestSameAsInWords(t *testing.T) {
	all := stories()
	for _, f := range families.All() {
		all[f.Name] = f.Values(1, 2600)
	}
	for name, values := range all {
		t.Run(name, func(t *testing.T) {
			var d Detector
			plain := newPlain()
			scored := 0
			for i, x := range values {
				want, got := plain.add(x), d.Add(x)
				if got.Value != want {
					t.Fatalf("value %d, %g: score %v, want %v", i, x, got.Value, want)
				}
				if got.Value < 0 || got.Value > MaxScore {
					t.Fatalf("value %d, %g: score %g", i, x, got.Value)
				}
				if got.Value > 0 {
					scored++
				}
			}
			if scored == 0 && name != "constant" && name != "nothing" && name != "short" {
				t.Error("no value has a score: the test shows nothing")
			}
			if d.Age() != uint64(len(values)) {
				t.Errorf("age %d, want %d", d.Age(), len(values))
			}
		})
	}
}

// TestGrowthKeepsTheHalvedCells: what was marked is marked after it, at half the resolution, and nothing else is.
func TestGrowthKeepsTheHalvedCells(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		s := scale{lo: 0, width: 32}
		var before [planes][cells][cells]bool
		for range r.IntN(40) {
			k, i, j := r.IntN(planes), r.IntN(cells), r.IntN(cells)
			before[k][i][j] = true
			s.planes[k][i] |= 1 << j
		}
		x, shift, lo := 40.0, 0, 0.0
		if r.IntN(2) == 0 {
			x, shift, lo = -1, cells/2, -32
		}
		s.grow(x)
		if s.width != 64 || s.lo != lo {
			t.Fatalf("grown towards %g: [%g, +%g)", x, s.lo, s.width)
		}
		for k := range before {
			want := halved(before[k], shift)
			for i := range cells {
				for j := range cells {
					if got := s.planes[k][i]>>j&1 == 1; got != want[i][j] {
						t.Fatalf("grown towards %g: plane %d, cell %d,%d is %t, want %t", x, k, i, j, got, want[i][j])
					}
				}
			}
		}
	}
	s := scale{lo: 0, width: 1}
	s.grow(1e9)
	if s.width != 16 {
		t.Errorf("one value has the grid grow to %g, want 16", s.width)
	}
}

// alarms are the values of a series, one a minute, that are told.
func alarms(values []float64, threshold float64) (at []int) {
	var d Detector
	var a Alarm
	for i, x := range values {
		if a.Tell(d.Add(x).Value, threshold, d.Age(), int64(i)*int64(time.Minute)) {
			at = append(at, i)
		}
	}
	return at
}

// toldWithin says whether a value of a stretch is told.
func toldWithin(values []float64, threshold float64, from, n int) bool {
	for _, i := range alarms(values, threshold) {
		if i >= from && i < from+n {
			return true
		}
	}
	return false
}

// TestRestartAfterAnOutlier: a value a thousand times as large makes the grid useless for what comes later. The series begins anew when it has done
// nothing of that size for two epochs, and is seen again.
func TestRestartAfterAnOutlier(t *testing.T) {
	const outlier, shift = 8000, 8000 + 6500
	told := 0
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		values := make([]float64, shift+60)
		for i := range values {
			if values[i] = 10 + r.NormFloat64(); i >= shift {
				values[i] += 4
			}
		}
		values[outlier] = 10_000
		if toldWithin(values, 4, shift, 60) {
			told++
		}
	}
	if told < 8 {
		t.Errorf("a shift by four standard deviations, 6,500 values after a huge one, is told in %d of 10 series, want 8", told)
	}
	var d Detector
	for range 20_000 {
		d.Add(0)
	}
	if d.n != 20_000 {
		t.Errorf("a series of zeros begins anew: it has %d values", d.n)
	}
}

// TestPlanted: what a person would see in a plot is told within 60 values.
func TestPlanted(t *testing.T) {
	const from, n = 8000, 60
	for name, tc := range map[string]struct {
		plant func(v float64, i int, sd float64, r *rand.Rand) float64
		least int // of 10 series
		heavy bool
	}{
		"level shift of 4 deviations": {func(v float64, _ int, sd float64, _ *rand.Rand) float64 { return v + 4*sd }, 8, false},
		"noise four times as wide":    {func(v float64, _ int, sd float64, r *rand.Rand) float64 { return v + 4*sd*r.NormFloat64() }, 8, false},
		"spike of 8 deviations": {func(v float64, i int, sd float64, _ *rand.Rand) float64 {
			if i == 0 {
				v += 8 * sd
			}
			return v
		}, 8, false},
		"spike of 100 deviations": {func(v float64, i int, sd float64, _ *rand.Rand) float64 {
			if i == 0 {
				v += 100 * sd
			}
			return v
		}, 8, true},
		"ramp": {func(v float64, i int, sd float64, _ *rand.Rand) float64 { return v + 8*sd*float64(i)/n }, 8, false},
	} {
		for _, f := range families.All() {
			light := f.Name == "white noise" || f.Name == "uniform" || f.Name == "Poisson 200"
			if !light && !(tc.heavy && f.Name != "constant") {
				continue
			}
			told := 0
			for seed := range uint64(10) {
				values := f.Values(seed, from+n)
				r := rand.New(rand.NewPCG(seed, 4))
				sd := deviation(values[:from])
				for i := range values[from:] {
					values[from+i] = tc.plant(values[from+i], i, sd, r)
				}
				if toldWithin(values, 4, from, n) {
					told++
				}
			}
			if told < tc.least {
				t.Errorf("%s in %s: told in %d of 10 series, want %d", name, f.Name, told, tc.least)
			}
		}
	}
}

func deviation(values []float64) float64 {
	sum, square := 0.0, 0.0
	for _, v := range values {
		sum += v
	}
	mean := sum / float64(len(values))
	for _, v := range values {
		square += (v - mean) * (v - mean)
	}
	return math.Sqrt(square / float64(len(values)))
}

// TestFalseAlarms is the table of make eval-anomaly in small: one series of two weeks of each family.
func TestFalseAlarms(t *testing.T) {
	total := 0
	for _, f := range families.All() {
		at := alarms(f.Values(11, families.Month/2), 5)
		total += len(at)
		if len(at) > 6 {
			t.Errorf("%s: %d alarms in two weeks of a clean series, at %v", f.Name, len(at), at)
		}
	}
	if mean := float64(total) / float64(len(families.All())); mean > 3 {
		t.Errorf("%.2f alarms in two weeks of a clean series on average, want at most 3", mean)
	} else {
		t.Logf("%.2f alarms in two weeks of a clean series", mean)
	}
}

// TestSeen: which plane a value is new in.
func TestSeen(t *testing.T) {
	values := make([]float64, 4000)
	for i := range values {
		values[i] = 10 * math.Sin(float64(i)/3)
	}
	var d Detector
	for _, x := range values {
		d.Add(x)
	}
	s := d.Add(30)
	if lag, coarse := d.Seen(s); !s.Far || coarse || lag == 0 || lag > 16 {
		t.Errorf("a value out of range: far %t, lag %d, coarse %t", s.Far, lag, coarse)
	}
	if lag, _ := new(Detector).Seen(Score{}); lag != 0 {
		t.Errorf("nothing seen: lag %d", lag)
	}
}

// FuzzAdd: whatever comes, a score is a score.
func FuzzAdd(f *testing.F) {
	f.Add(uint64(1), 1e9, 1e-9, 1e37)
	f.Fuzz(func(t *testing.T, seed uint64, a, b, c float64) {
		for _, x := range []float64{a, b, c} {
			if !(math.Abs(x) < 1e37) {
				return
			}
		}
		r := rand.New(rand.NewPCG(seed, 1))
		var d Detector
		for range 4200 {
			x := a + b*r.NormFloat64()
			if r.IntN(300) == 0 {
				x = c
			}
			if s := d.Add(x); !(s.Value >= 0 && s.Value <= MaxScore) {
				t.Fatalf("score %g of %g", s.Value, x)
			}
		}
	})
}

func TestAlarm(t *testing.T) {
	day := int64(24 * time.Hour)
	for name, tc := range map[string]struct {
		score float64
		age   uint64 // of the series, when it is told again or not; it was told at 10,000
		after time.Duration
		want  bool
	}{
		"below the threshold":           {4.9, 20_000, 10 * time.Hour, false},
		"at it":                         {5, 20_000, 10 * time.Hour, true},
		"300 values later":              {5, 10_300, 5 * time.Hour, false},
		"301 values later":              {5, 10_301, 5 * time.Hour, true},
		"many values, but soon":         {5, 11_000, 29 * time.Minute, false},
		"many values, 31 minutes later": {5, 11_000, 31 * time.Minute, true},
		"few values, but a week later":  {5, 10_008, 8 * 24 * time.Hour, true},
		"few values, six days later":    {5, 10_006, 6 * 24 * time.Hour, false},
		"higher does not help":          {16, 10_100, 2 * time.Hour, false},
		"a time from before":            {5, 10_400, -20 * time.Minute, false},
		"a time from long before":       {5, 10_400, -2 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			var a Alarm
			if !a.Tell(7, 5, 10_000, day) {
				t.Fatal("the first one is not told")
			}
			a.Tell(7, 5, 10_001, day+int64(time.Second)) // does not make it longer
			if got := a.Tell(tc.score, 5, tc.age, day+int64(tc.after)); got != tc.want {
				t.Errorf("told %t, want %t", got, tc.want)
			}
		})
	}
	var a Alarm
	a.Tell(7, 5, 400, 0)
	if a.Tell(7, 5, 420, day) || !a.Tell(7, 5, 421, day) {
		t.Error("a series of 400 values is quiet for 20")
	}
}

func TestFlat(t *testing.T) {
	lively := func(n int) (v []float64) {
		for i := range n {
			v = append(v, float64(i%7))
		}
		return v
	}
	same := func(n int, x float64) (v []float64) {
		for range n {
			v = append(v, x)
		}
		return v
	}
	join := func(parts ...[]float64) (v []float64) {
		for _, p := range parts {
			v = append(v, p...)
		}
		return v
	}
	for name, tc := range map[string]struct {
		values []float64
		want   []int
	}{
		"always the same":           {same(1000, 1), nil},
		"freezes":                   {join(lively(300), same(500, 9)), []int{399}},
		"freezes twice":             {join(lively(300), same(150, 9), lively(100), same(500, 9)), []int{399, 300 + 150 + 100 + 449}},
		"stands still now and then": {join(lively(300), same(99, 9), lively(10), same(280, 9), lively(10)), nil},
		"has changed twice":         {join(same(5, 1), same(5, 2), same(500, 3)), nil},
		"changes seldom":            {join(lively(20), same(90, 1), same(90, 2), same(90, 3), same(269, 4)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var f Flat
			var got []int
			for i, x := range tc.values {
				if f.Add(x) {
					f.Tell()
					got = append(got, i)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("told at %v, want %v", got, tc.want)
			}
		})
	}
}

// silences runs a series with a value at each time beside others with a value in 10 s, and returns when it is told to be silent.
func silences(series []time.Duration, others func(at time.Duration) bool, until time.Duration) (told []time.Duration) {
	var c Clock
	var r Rhythm
	base := int64(1e18)
	for at := time.Duration(0); at < until; at += time.Second {
		if at%(10*time.Second) == 0 && others(at) {
			c.Add(base + int64(at))
		}
		for len(series) > 0 && series[0] <= at {
			c.Add(base + int64(series[0]))
			r.Add(base+int64(series[0]), &c)
			series = series[1:]
		}
		if _, _, tell := r.Silence(&c); tell {
			r.Tell()
			told = append(told, at)
		}
	}
	return told
}

func TestRhythm(t *testing.T) {
	every := func(from, to, step time.Duration) (at []time.Duration) {
		for ; from < to; from += step {
			at = append(at, from)
		}
		return at
	}
	r := rand.New(rand.NewPCG(5, 5))
	var random []time.Duration
	for at := time.Duration(0); at < time.Hour; at += time.Duration(r.ExpFloat64() * float64(30*time.Second)) {
		random = append(random, at)
	}
	always := func(time.Duration) bool { return true }
	const m, h, s = time.Minute, time.Hour, time.Second
	for name, tc := range map[string]struct {
		series []time.Duration
		others func(time.Duration) bool
		want   []time.Duration
	}{
		"goes on":                 {every(0, 3*h, 30*s), always, nil},
		"ends":                    {every(0, 1*h, 30*s), always, []time.Duration{h - 30*s + 150*s}},
		"ends, of one in a while": {every(0, 2*h, 2*m), always, []time.Duration{2*h - 2*m + 10*m}},
		"ends, of one in 5 s":     {every(0, 1*h, 5*s), always, []time.Duration{h + m + 10*s}},
		"ends and comes back": {
			append(every(0, h, 30*s), every(h+10*m, 2*h, 30*s)...), always,
			[]time.Duration{h - 30*s + 150*s, 2*h - 30*s + 3*(10*m+30*s)},
		},
		"young":                 {every(0, 10*m, 30*s), always, nil},
		"no rhythm":             {random, always, nil},
		"everything is silent":  {every(0, h, 30*s), func(at time.Duration) bool { return at < h }, nil},
		"a hole in the input":   {append(every(0, h, 30*s), every(2*h, 3*h, 30*s)...), func(at time.Duration) bool { return at < h || at >= 2*h }, nil},
		"two seconds of jitter": {jitter(every(0, 2*h, 10*s)), always, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := silences(tc.series, tc.others, 3*h)
			if name == "two seconds of jitter" { // it ends, too
				if len(got) != 1 || got[0] < 2*h || got[0] > 2*h+2*m {
					t.Errorf("told at %v, want one soon after two hours", got)
				}
				return
			}
			ok := len(got) == len(tc.want)
			for i := 0; ok && i < len(got); i++ {
				ok = got[i] >= tc.want[i]-s && got[i] <= tc.want[i]+11*s // the clock goes by the others
			}
			if !ok {
				t.Errorf("told at %v, want %v", got, tc.want)
			}
		})
	}
}

func jitter(at []time.Duration) []time.Duration {
	r := rand.New(rand.NewPCG(6, 6))
	for i := range at {
		at[i] += time.Duration(r.IntN(2000)) * time.Millisecond
	}
	return at
}

// TestClock: one wrong time from far ahead does not stop it for ever, nor does it count.
func TestClock(t *testing.T) {
	var c Clock
	at := int64(1e18)
	for i := range 1000 {
		at += int64(time.Second)
		if c.Add(at); i == 500 {
			c.Add(at + int64(365*24*time.Hour))
		}
	}
	for class := range uint8(10) {
		if passed := time.Duration(c.in(class)); passed < 980*time.Second || passed > (1000+2<<class)*time.Second {
			t.Errorf("class %d: %s have passed in 1,000 s", class, passed)
		}
	}
	if c.Newest() != at {
		t.Errorf("the newest time is %d s away", (c.Newest()-at)/int64(time.Second))
	}
}

// BenchmarkAdd is of one series that stays in the cache, and of 10,000 in turns.
func BenchmarkAdd(b *testing.B) {
	all := families.All()
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("%d series", n), func(b *testing.B) {
			var values [][]float64
			for _, f := range all {
				values = append(values, f.Values(1, 5000))
			}
			detectors := make([]Detector, n)
			for i := range detectors {
				for _, x := range values[i%len(all)][:400] {
					detectors[i].Add(x)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				// One series is of each family in turns, 5000 values long.
				f := i % n % len(all)
				if n == 1 {
					f = i / 5000 % len(all)
				}
				detectors[i%n].Add(values[f][i/n%5000])
				i++
			}
		})
	}
}

// TestClockAndBacklogs: what a source sends late, among newer values of others, is no time that passes; and a clock that was years ahead stops nothing.
func TestClockAndBacklogs(t *testing.T) {
	const base, minute = int64(1_700_000_000_000_000_000), int64(time.Minute)
	var c Clock
	for i := range int64(60) {
		c.Add(base + i*minute)
	}
	before := c.in(classOf(60))
	for part := range int64(12) { // two hours of backlog
		for i := range int64(10) {
			c.Add(base - 180*minute + (part*10+i)*minute)
		}
		c.Add(base + 59*minute + part)
	}
	if passed := time.Duration(c.in(classOf(60)) - before); passed > time.Second {
		t.Errorf("a backlog makes %s pass", passed)
	}
	c.Add(base + int64(10*365*24*time.Hour))
	for i := range int64(20) {
		c.Add(base + (60+i)*minute)
	}
	before = c.in(classOf(60))
	for i := range int64(10) {
		c.Add(base + (80+i)*minute)
	}
	if passed := time.Duration(c.in(classOf(60)) - before); passed != 10*time.Minute {
		t.Errorf("after a time that was wrong 10 minutes are %s", passed)
	}
}
