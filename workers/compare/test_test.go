package compare

import (
	"flag"
	"math/rand/v2"
	"testing"
)

var runs = flag.Int("runs", 200, "experiments to simulate for each row without a difference; for one with a difference, a quarter")

// simulate gives n events to each of two variants with these rates, one event for each key, and looks after each tenth of them. It returns the
// part of runs in which a difference is found at any look.
func simulate(runs, n int, control, candidate float64) float64 {
	found := 0
	for run := range runs {
		lot := rand.New(rand.NewPCG(uint64(run), uint64(n)))
		var a, b tally
		for range 10 { // looks
			for range n / 10 {
				draw(&a, lot, control)
				draw(&b, lot, candidate)
			}
			d := differ(&a, &b)
			if d.p(0.1) <= 0.05 {
				found++
				break
			}
		}
	}
	return float64(found) / float64(runs)
}

func draw(t *tally, lot *rand.Rand, rate float64) {
	bits := lot.Uint64() // for both: two draws would take twice as long
	group := bits % groups
	t.events[group]++
	if float64(bits>>11)/(1<<53) < rate {
		t.outcomes[group]++
	}
}

// TestFalseAlarms: of experiments without a difference at most one in twenty finds one, though it looks ten times.
func TestFalseAlarms(t *testing.T) {
	for _, rate := range []float64{0.02, 0.1, 0.5} {
		for _, n := range []int{500, 5_000, 10_000} {
			if got := simulate(*runs, n, rate, rate); got > 0.05 {
				t.Errorf("rate %g, %d events: %.3f find a difference, want 0.05 at most", rate, n, got)
			} else {
				t.Logf("rate %g, %d events: %.3f", rate, n, got)
			}
		}
	}
}

// TestPower: with as many events as docs/stages/compare.md names, four of five experiments find a difference of a tenth.
func TestPower(t *testing.T) {
	for _, row := range []struct {
		rate float64
		n    int
	}{{0.05, 60_000}, {0.1, 28_000}, {0.2, 12_500}, {0.5, 3_200}} {
		got := simulate(*runs/4, row.n, row.rate, row.rate*1.1)
		if t.Logf("rate %g, %d events: %.3f", row.rate, row.n, got); got < 0.8 {
			t.Errorf("rate %g, %d events of each variant: %.3f find the difference, want 0.8", row.rate, row.n, got)
		}
	}
}
