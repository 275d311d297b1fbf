package analyze

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"millrace.dev/millrace/workers/analyze/novelty"
	"millrace.dev/millrace/workers/config"
)

type settings struct {
	anomaly   bool
	threshold float64  // 0 = every score is a result
	seriesBy  []string // attributes that tell series apart; empty = those that seem to

	trend     bool
	span      time.Duration // of one point
	minPoints int

	// quiet is how long an insight about scores of a model waits for the next one; 0 = there is no model.
	quiet time.Duration

	maxSeries int
}

// maxPoints is the number of points of a trend's window.
const maxPoints = 64

// defaultThreshold is that of a stage that sets none, and of the insights of one whose results are all scores. A clean series reaches it less than
// once in a month (docs/stages/analyze.md).
const defaultThreshold = 5

// tells is the score from which a value is an anomaly.
func (s *settings) tells() float64 {
	if s.threshold == 0 {
		return defaultThreshold
	}
	return s.threshold
}

func settingsOf(c *config.Analyze) (settings, error) {
	s := settings{maxSeries: c.MaxSeries, threshold: defaultThreshold, minPoints: 12}
	if s.maxSeries <= 0 {
		s.maxSeries = 100_000
	}
	if a := c.Anomaly; a != nil {
		s.anomaly = true
		if a.Threshold != nil {
			s.threshold = *a.Threshold
		}
		s.seriesBy = a.SeriesBy
		if !(s.threshold >= 0 && s.threshold <= novelty.MaxScore) {
			return s, fmt.Errorf("analyze.anomaly.threshold: is %g, must be between 0 and %d", s.threshold, novelty.MaxScore)
		}
		if err := checkSeriesBy(s.seriesBy); err != nil {
			return s, err
		}
	}
	if t := c.Trend; t != nil {
		s.trend = true
		window := t.Window.D()
		if window <= 0 {
			window = 10 * time.Minute
		}
		if window < time.Second {
			return s, fmt.Errorf("analyze.trend.window: is %s, at least 1s", window)
		}
		if t.MinPoints != 0 {
			s.minPoints = t.MinPoints
		}
		if s.minPoints < 4 || s.minPoints > maxPoints {
			return s, fmt.Errorf("analyze.trend.minPoints: is %d, must be between 4 and %d", s.minPoints, maxPoints)
		}
		s.span = window / maxPoints
	}
	if i := c.Inference; i != nil {
		if i.Model == nil {
			return s, errors.New("analyze.inference.model: is missing")
		}
		if s.quiet = i.Quiet.D(); s.quiet < time.Second {
			return s, fmt.Errorf("analyze.inference.quiet: is %s, at least 1s", s.quiet)
		}
		if t := i.Threshold; t != nil && (math.IsNaN(*t) || math.IsInf(*t, 0)) {
			return s, fmt.Errorf("analyze.inference.threshold: is %g, must be a number", *t)
		}
	}
	return s, nil
}

func checkSeriesBy(keys []string) error {
	if len(keys) > maxLabels {
		return fmt.Errorf("analyze.anomaly.seriesBy: has %d attributes, at most %d", len(keys), maxLabels)
	}
	for i, key := range keys {
		switch {
		case key == "" || len(key) > maxLabelKey:
			return fmt.Errorf("analyze.anomaly.seriesBy[%d]: has %d bytes, must have 1 to %d", i, len(key), maxLabelKey)
		case slices.Contains(keys[:i], key):
			return fmt.Errorf("analyze.anomaly.seriesBy[%d]: %q is there twice", i, key)
		}
	}
	return nil
}
