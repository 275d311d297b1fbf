package analyze

import (
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
)

type settings struct {
	anomaly   bool
	threshold float64
	warmup    int

	trend     bool
	span      time.Duration // of one point
	minPoints int

	maxSeries int
}

// maxPoints is the number of points of a trend's window.
const maxPoints = 64

func settingsOf(c *config.Analyze) (settings, error) {
	s := settings{maxSeries: c.MaxSeries, threshold: 6, warmup: 30, minPoints: 12}
	if s.maxSeries <= 0 {
		s.maxSeries = 100_000
	}
	if a := c.Anomaly; a != nil {
		s.anomaly = true
		if a.Threshold != 0 {
			s.threshold = a.Threshold
		}
		if a.Warmup != 0 {
			s.warmup = a.Warmup
		}
		if s.threshold < 0 || s.threshold > maxScore {
			return s, fmt.Errorf("analyze.anomaly.threshold: is %g, must be between 0 and %d", s.threshold, maxScore)
		}
		if s.warmup < 2 {
			return s, fmt.Errorf("analyze.anomaly.warmup: is %d, at least 2", s.warmup)
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
	return s, nil
}
