package plan

import (
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func correlate(s *v1alpha1.CorrelateSpec) *config.Correlate {
	to := config.Correlate{PassThrough: s.PassThrough}
	if r := s.Realtime; r != nil {
		to.Realtime = &config.CorrelateRealtime{
			Within:       duration(r.Within, 5*time.Minute),
			MaxEntities:  int(or(r.MaxEntities, 100_000)),
			IncidentIdle: duration(r.IncidentIdle, 15*time.Minute),
		}
	}
	if w := s.Window; w != nil {
		to.Window = &config.CorrelateWindow{
			Size: duration(w.Size, 5*time.Second), Lateness: duration(w.Lateness, 5*time.Second),
			MinEvents: int(or(w.MinEvents, v1alpha1.DefaultMinEvents)), MaxEvents: int(or(w.MaxEvents, v1alpha1.DefaultMaxEvents)),
		}
	}
	if r := s.Runs; r != nil {
		to.Runs = &config.CorrelateRuns{MaxSpans: int(or(r.MaxSpans, 100_000)), MaxRoutes: int(or(r.MaxRoutes, 20_000))}
	}
	if p := s.Patterns; p != nil {
		to.Patterns = &config.CorrelatePatterns{Within: duration(p.Within, 2*time.Minute), MaxKeys: int(or(p.MaxKeys, 20_000))}
	}
	return &to
}
