package plan

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func (c *computation) analyze(s *v1alpha1.AnalyzeSpec, path *field.Path) *config.Analyze {
	to := &config.Analyze{MaxSeries: int(or(s.MaxSeries, 100_000)), PassThrough: s.PassThrough}
	if a := s.Anomaly; a != nil {
		text := or(a.Threshold, "5")
		threshold, err := strconv.ParseFloat(text, 64)
		if err != nil || !(threshold >= 0 && threshold <= 16) {
			c.refuse(field.Invalid(path.Child("anomaly", "threshold"), text, "must be a decimal from 0 to 16"))
		}
		to.Anomaly = &config.AnalyzeAnomaly{Threshold: &threshold, SeriesBy: a.SeriesBy}
	}
	if t := s.Trend; t != nil {
		to.Trend = &config.AnalyzeTrend{Window: duration(t.Window, 10*time.Minute), MinPoints: int(or(t.MinPoints, 12))}
	}
	return to
}
