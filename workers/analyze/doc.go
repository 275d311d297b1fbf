// Package analyze is the stage that looks at numbers: it keeps one small state for each
// series (an entity, a metric and the attributes that tell series apart), scores every value against what came before it, and
// tests the last minutes for a trend.
//
// Results leave on port out as new events: millrace.anomaly and millrace.trend. What a
// person should see leaves on port insights. The input ends here (verdict filtered). Of a
// counter, the values are the rates at which it grows.
//
// # Anomalies
//
// Package novelty scores how new a value is, in O(1) and strictly causally: how far the pairs (value some values ago, value now) are from all pairs
// before, at four lags and two scales, as -log10 of the tail probability. After an anomaly a series is quiet for a while. The same package finds series that
// freeze, and those that fall silent while others go on. The latter have no event: they are looked for every ten seconds of the event time of the lane, and a series with a rhythm
// remembers its name for it. The mean that a result calls expected is for people only.
//
// # Trends
//
// A series is kept as up to 64 means over equal spans of event time, each at the mean time of
// its values. Whenever a span ends the points are tested by Mann-Kendall with tie correction (Kendall 1975) and the variance
// inflated for positive lag-1 autocorrelation of the detrended points (Yue and Wang 2004);
// the slope is Theil-Sen's with the interval of Sen 1968. A trend is reported when it
// begins or turns round, not again while it goes on. Each test also asks when the slope reaches the limit that
// the event names; that it does within an hour is an insight, closed when it has not for a window.
//
// # Models
//
// Package model evaluates trained models. Features are CEL expressions about the event; each event that the condition holds for has a score, which leaves as
// millrace.prediction. The model and what it is given change together, between two batches: a file that is not there yet is looked for once a second of the
// wall clock, in Flush, and the model before goes on until then.
//
// # Insights
//
// Anomalies of one workload within minutes are an episode, which is one insight: opened, updated when more series are
// concerned, and closed. Ids do not hang on the name of the stage, and a rebuilt stage makes the same.
//
// # Guarantees and cost
//
// Stateful: the values of a lane are seen in stream order by one instance, and what it makes
// follows from them. A worker that takes over replays the input of Horizon. Trends are the
// same from there on (TestRebuiltTrends); a detector that is made again from 30 minutes is
// younger than the one before, which TestTakeovers measures. A snapshot keeps everything. Memory is bounded:
// maxSeries series of at most 2.2 KiB and their names (TestMemoryPerSeries), shared out among the lanes; the
// least recently used is forgotten first and counted by
// millrace_analyze_series_evictions_total. A value costs about 0.25 us to score, 0.2 us more when
// it ends a span, and some microseconds when the points rise or fall enough for a slope to be
// looked for (BenchmarkProcess, BenchmarkTest, 2-core AMD EPYC). Of the events of the sample, three in
// ten of which carry a metric, one costs 0.5 us on a busy machine (BenchmarkLogic in test/bench).
// Only what is told allocates. An event without a metric costs some nanoseconds.
package analyze
