package plan

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
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
	if i := s.Inference; i != nil {
		to.Inference = c.inference(i, path.Child("inference"))
	}
	return to
}

func (c *computation) inference(s *v1alpha1.InferenceSpec, path *field.Path) *config.AnalyzeInference {
	to := &config.AnalyzeInference{
		Model: &config.AnalyzeModel{Name: s.Model.Name, File: modelFile(&s.Model).File, Format: string(s.Model.Format), SHA256: s.Model.SHA256},
		When:  s.When, Quiet: duration(s.Quiet, 10*time.Minute), Shadow: s.Shadow,
	}
	if s.When != "" {
		c.checkExpression(s.When, path.Child("when"))
	}
	for i, f := range s.Features {
		c.checkExpressionFor(f.Expression, celenv.Scalar, path.Child("features").Index(i).Child("expression"))
		to.Features = append(to.Features, config.AnalyzeFeature{Name: f.Name, Expression: f.Expression})
	}
	if s.Threshold != "" {
		threshold, err := strconv.ParseFloat(s.Threshold, 64)
		if err != nil {
			c.refuse(field.Invalid(path.Child("threshold"), s.Threshold, "must be a decimal"))
		}
		to.Threshold = &threshold
	}
	return to
}

func modelFile(s *v1alpha1.ModelSpec) config.ModelFile {
	return config.NewModelFile(s.ConfigMapRef.Name, s.ConfigMapRef.Key)
}

// analyzeModels is the model of the stage.
func analyzeModels(s *v1alpha1.AnalyzeSpec) []config.ModelFile {
	if s.Inference == nil {
		return nil
	}
	return []config.ModelFile{modelFile(&s.Inference.Model)}
}
