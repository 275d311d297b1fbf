package correlate

import (
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate/patterns"
	"millrace.dev/millrace/workers/correlate/runs"
)

// settings are the config with its gaps filled; a nil member is off.
type settings struct {
	realtime *config.CorrelateRealtime
	window   *config.CorrelateWindow
	runs     *config.CorrelateRuns
	patterns *config.CorrelatePatterns
}

func settingsOf(c *config.Correlate) (s settings, err error) {
	if c.Realtime == nil && c.Window == nil && c.Runs == nil && c.Patterns == nil {
		return s, errors.New("correlate: none of realtime, window, runs and patterns is set")
	}
	if c.Realtime != nil {
		r := *c.Realtime
		r.Within = positive(r.Within, 5*time.Minute)
		r.IncidentIdle = positive(r.IncidentIdle, 15*time.Minute)
		if r.MaxEntities <= 0 {
			r.MaxEntities = 100_000
		}
		s.realtime = &r
	}
	if c.Window != nil {
		w := *c.Window
		w.Size = positive(w.Size, 5*time.Second)
		w.Lateness = positive(w.Lateness, 5*time.Second)
		if w.MinEvents <= 0 {
			w.MinEvents = 3
		}
		if w.MaxEvents <= 0 {
			w.MaxEvents = 1000
		}
		if w.MinEvents > w.MaxEvents {
			return s, fmt.Errorf("correlate.window.minEvents: is %d, more than maxEvents (%d)", w.MinEvents, w.MaxEvents)
		}
		s.window = &w
	}
	if c.Runs != nil {
		r := *c.Runs
		if r.MaxSpans <= 0 {
			r.MaxSpans = runs.DefaultLimits.Waiting
		}
		if r.MaxRoutes <= 0 {
			r.MaxRoutes = runs.DefaultLimits.Routes
		}
		s.runs = &r
	}
	if c.Patterns != nil {
		p := *c.Patterns
		p.Within = positive(p.Within, time.Duration(patterns.DefaultLimits.Within))
		if p.MaxKeys <= 0 {
			p.MaxKeys = patterns.DefaultLimits.Keys
		}
		s.patterns = &p
	}
	return s, nil
}

func positive(d config.Duration, fallback time.Duration) config.Duration {
	if d <= 0 {
		return config.Duration(fallback)
	}
	return d
}
