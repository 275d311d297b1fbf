package main

import (
	"math"
	"testing"
)

// The wanted scores are worked out by hand from the formulas of the paper.
func TestScore(t *testing.T) {
	standard := profiles[0]
	one := []window{{500, 599}}
	for name, tc := range map[string]struct {
		anomalies []int
		windows   []window
		want      float64
	}{
		"nothing found":            {nil, one, -1},
		"found at once":            {[]int{500}, one, 1},
		"found late":               {[]int{599}, one, (2/(1+math.Exp(-0.05)) - 1) / (2/(1+math.Exp(-5)) - 1)},
		"found twice counts once":  {[]int{500, 550}, one, 1},
		"false alarm before":       {[]int{400, 500}, one, 1 - 0.11},
		"false alarm just after":   {[]int{500, 600}, one, 1 + 0.11*(2/(1+math.Exp(5.0/99))-1)},
		"false alarm long after":   {[]int{500, 950}, one, 1 - 0.11},
		"probation is not counted": {[]int{149, 500}, one, 1},
		"one of two":               {[]int{500}, []window{{500, 599}, {800, 899}}, 0},
		"no windows":               {[]int{300, 400}, nil, -0.22},
	} {
		t.Run(name, func(t *testing.T) {
			if got := score(tc.anomalies, tc.windows, 1000, standard); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("got %g, want %g", got, tc.want)
			}
		})
	}
}

func TestNormal(t *testing.T) {
	for _, p := range profiles {
		if got := normal(-p.fn*7, 7, p); got != 0 {
			t.Errorf("%s: nothing found is %g, want 0", p.name, got)
		}
		if got := normal(p.tp*7, 7, p); got != 100 {
			t.Errorf("%s: all found at once is %g, want 100", p.name, got)
		}
	}
}

func TestProbation(t *testing.T) {
	for rows, want := range map[int]int{1000: 150, 4032: 604, 22695: 750} {
		if got := probation(rows); got != want {
			t.Errorf("%d rows: %d, want %d", rows, got, want)
		}
	}
}
