package main

import "math"

// profile weighs what a detector does.
type profile struct {
	name       string
	tp, fp, fn float64
}

// profiles are those of NAB's config/profiles.json.
var profiles = []profile{
	{"standard", 1, 0.11, 1},
	{"reward low FP rate", 1, 0.22, 1},
	{"reward low FN rate", 1, 0.11, 2},
}

// window is a labelled anomaly: the rows of its first and last value.
type window struct{ first, last int }

// sigmoid is NAB's scaled sigmoid of a position: -1 at the start of a window, 0 at its end.
func sigmoid(y float64) float64 {
	if y > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*y)) - 1
}

// probation is how many of n rows at the start are not scored.
func probation(n int) int { return int(0.15 * float64(min(n, 5000))) }

// score is the raw score of the anomalies (rows in ascending order) of a file with n rows.
func score(anomalies []int, windows []window, n int, p profile) float64 {
	total := 0.0
	hit := make([]float64, len(windows))
	for _, row := range anomalies {
		if row < probation(n) {
			continue
		}
		inside, before := -1, -1
		for i, w := range windows {
			if row >= w.first && row <= w.last {
				inside = i
			}
			if row > w.last {
				before = i
			}
		}
		switch {
		case inside >= 0:
			w := windows[inside]
			early := sigmoid(-float64(w.last-row+1) / float64(w.last-w.first+1))
			hit[inside] = max(hit[inside], p.tp*early/sigmoid(-1))
		case before >= 0:
			w := windows[before]
			total += p.fp * sigmoid(float64(row-w.last)/float64(w.last-w.first))
		default:
			total -= p.fp
		}
	}
	for _, h := range hit {
		if h == 0 {
			h = -p.fn
		}
		total += h
	}
	return total
}

// normal scales the raw score of a corpus with so many windows to 0 (finds nothing) .. 100.
func normal(raw float64, windows int, p profile) float64 {
	null, perfect := -p.fn*float64(windows), p.tp*float64(windows)
	return 100 * (raw - null) / (perfect - null)
}
