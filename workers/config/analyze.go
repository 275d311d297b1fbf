package config

// Analyze configures an analyze stage; a nil member is off.
type Analyze struct {
	Anomaly *AnalyzeAnomaly `json:"anomaly,omitempty"`
	Trend   *AnalyzeTrend   `json:"trend,omitempty"`
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
