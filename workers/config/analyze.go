package config

// Analyze configures an analyze stage; a nil member is off.
type Analyze struct {
	Anomaly *AnalyzeAnomaly `json:"anomaly,omitempty"`
	Trend   *AnalyzeTrend   `json:"trend,omitempty"`
	// Inference scores events by a trained model.
	Inference *AnalyzeInference `json:"inference,omitempty"`
	// MaxSeries bounds the series that are remembered; the least recently used is forgotten first.
	MaxSeries int `json:"maxSeries"`
	// PassThrough has every event leave on port out, with what was found of it as attributes.
	PassThrough bool `json:"passThrough,omitempty"`
}

// AnalyzeAnomaly scores each value of a series against what came before.
type AnalyzeAnomaly struct {
	// Threshold is the score, 0 to 16, from which a value is an anomaly. 0 = the score of each value is a result; nil = the default.
	Threshold *float64 `json:"threshold,omitempty"`
	// SeriesBy are the attributes that tell the series of an entity and metric apart; empty = those that seem to.
	SeriesBy []string `json:"seriesBy,omitempty"`
}

// AnalyzeTrend tests each series for a monotonic trend.
type AnalyzeTrend struct {
	// Window is the length of the series that is tested, in event time.
	Window Duration `json:"window"`
	// MinPoints is the number of points a test needs.
	MinPoints int `json:"minPoints"`
}

// AnalyzeInference scores events by a trained model (workers/analyze/model).
type AnalyzeInference struct {
	// Model is required.
	Model *AnalyzeModel `json:"model"`
	// Features are the values that the model is given: each of its features, once.
	Features []AnalyzeFeature `json:"features"`
	// When is a condition; events for which it does not hold have no score. Empty = all have one.
	When string `json:"when,omitempty"`
	// Threshold is the score from which a person is told; nil = nobody is.
	Threshold *float64 `json:"threshold,omitempty"`
	// Quiet is how long after the last such score of a workload its insight is closed, in stream time.
	Quiet Duration `json:"quiet"`
	// Shadow has nobody told, and no event changed.
	Shadow bool `json:"shadow,omitempty"`
}

// AnalyzeModel is a trained model.
type AnalyzeModel struct {
	// Name of the model in results.
	Name string `json:"name"`
	// File is the path of the model below the folder of models (ModelsIn).
	File string `json:"file"`
	// Format is one of model.Formats, and SHA256 what the file has to be, in 64 hexadecimal digits.
	Format string `json:"format"`
	SHA256 string `json:"sha256"`
}

// AnalyzeFeature is a value that a model is given.
type AnalyzeFeature struct {
	Name string `json:"name"`
	// Expression is in CEL; it yields a number or a bool. null, and what an event does not have, is a missing value.
	Expression string `json:"expression"`
}
