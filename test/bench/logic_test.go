package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
)

const (
	// logicStories are as many as a detector and a trend need to be what they are in a long run.
	logicStories = 4
	// logicLanes and logicFrame are the lanes of a stage and the events in a frame of one, as
	// the row pipeline has them.
	logicLanes, logicFrame = 8, 650
	// logicRate is how many events are stored in a second of stream time.
	logicRate = 150_000
)

// storedFrame is a stored frame of one lane.
type storedFrame struct {
	lane   int
	stored time.Time
	data   []byte
}

// logicInput are the stories of the row pipeline as the stages read them: as published, and
// enriched, by partition.
type logicInput struct{ published, enriched []storedFrame }

func makeLogicInput(b *testing.B) (in logicInput) {
	b.Helper()
	const perFrame = 500
	all, err := makeEvents(logicStories*storyEvents, 0, perFrame)
	if err != nil {
		b.Fatal(err)
	}
	snapshot := filepath.Join(b.TempDir(), "snapshot.json")
	if err := os.WriteFile(snapshot, all.snapshot, 0o600); err != nil {
		b.Fatal(err)
	}
	factory := enrich.NewFactory(enrichkubernetes.Choice{Snapshot: snapshot}.Open)
	enricher := startStage(b, factory, &config.StageConfig{Kind: config.KindEnrich, Enrich: &config.Enrich{
		Kubernetes: &config.EnrichKubernetes{}, Semantic: &config.EnrichSemantic{}, Trace: &config.EnrichTrace{}, Impact: &config.EnrichImpact{},
	}}, 1)
	decoder := decode.New(decode.Limits{Lift: true})
	writers := make([]frame.Writer, logicLanes)
	for i := range writers {
		writers[i].Hints = true
		writers[i].Begin(frame.Header{})
	}
	// Stored after they happened, as events are.
	stored := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(logicStories * generator.Length)
	var batch stage.Batch
	for i := range all.frames.len() {
		stored = stored.Add(perFrame * time.Second / logicRate)
		in.published = append(in.published, storedFrame{stored: stored, data: all.frames.at(i)})
		decodeFrame(b, decoder, in.published[i], &batch)
		if err := enricher.Process(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
		for k := range batch.Events {
			lane := batch.Events[k].PartitionOf(logicLanes)
			w := &writers[lane]
			w.Add(&batch.Events[k])
			if w.Len() == logicFrame {
				in.enriched = append(in.enriched, storedFrame{lane, stored, w.AppendTo(nil)})
				w.Begin(frame.Header{})
			}
		}
	}
	return in
}

// decodeFrame decodes a frame into a batch.
func decodeFrame(b *testing.B, d *decode.Decoder, f storedFrame, batch *stage.Batch) {
	b.Helper()
	d.Reset()
	var bad []decode.Undecodable
	batch.Events, bad = d.Decode(batch.Events[:0], decode.Message{
		Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}, Data: f.data, Time: f.stored.UnixNano(),
	})
	if len(bad) != 0 {
		b.Fatal(bad)
	}
	batch.Now = f.stored
	batch.Reset(1)
}

// startStage makes a stage and starts it.
func startStage(b *testing.B, f stage.Factory, c *config.StageConfig, lanes int) stage.Stage {
	b.Helper()
	s, err := f.New(stage.Settings{Config: c, Log: discard, Now: time.Now, Metrics: prometheus.NewRegistry(), Lanes: lanes})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkLogic is what the logic of a stage costs in the row pipeline: the same events and
// lanes, decoded like there right before, which is not counted.
func BenchmarkLogic(b *testing.B) {
	var in logicInput
	for _, tc := range []struct {
		name    string
		factory stage.Factory
		config  config.StageConfig
		lanes   int
	}{
		{"validate", validate.NewFactory(), config.StageConfig{Kind: config.KindValidate, Validate: &config.Validate{
			Rules: []config.Rule{{Expression: "event.id != ''", Message: "id must be set"}}, Dedupe: &config.Dedupe{},
		}}, 1},
		{"correlate", correlate.NewFactory(), config.StageConfig{Kind: config.KindCorrelate, Correlate: &config.Correlate{
			Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{},
		}}, logicLanes},
		{"correlate-runs", correlate.NewFactory(), config.StageConfig{Kind: config.KindCorrelate, Correlate: &config.Correlate{
			Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}, Runs: &config.CorrelateRuns{},
		}}, logicLanes},
		{"analyze", analyze.NewFactory(), config.StageConfig{Kind: config.KindAnalyze, Analyze: &config.Analyze{
			Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{},
		}}, logicLanes},
	} {
		b.Run(tc.name, func(b *testing.B) {
			if in.published == nil {
				in = makeLogicInput(b)
			}
			frames := in.enriched
			if tc.lanes == 1 {
				frames = in.published
			}
			var spent time.Duration
			var events int
			var mallocs uint64
			b.ResetTimer()
			for b.Loop() {
				lanes := make([]logicLane, tc.lanes)
				for i := range lanes {
					lanes[i].stage = startStage(b, tc.factory, &tc.config, tc.lanes)
				}
				before := heapObjects()
				decoder := decode.New(decode.Limits{Hints: tc.lanes > 1})
				var batch stage.Batch
				for _, f := range frames {
					decodeFrame(b, decoder, f, &batch)
				}
				between := heapObjects()
				for _, f := range frames {
					decodeFrame(b, decoder, f, &batch)
					spent += lanes[f.lane].take(b, &batch)
					events += len(batch.Events)
				}
				mallocs += heapObjects() - between - (between - before)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(events), "ns/event")
			b.ReportMetric(float64(mallocs)/float64(events), "mallocs/event")
		})
	}
}

// logicLane is one instance of a stage.
type logicLane struct {
	stage stage.Stage
	next  int64 // Unix second of the next flush
}

// take processes a batch as the engine does, and returns how long that took.
func (l *logicLane) take(b *testing.B, batch *stage.Batch) time.Duration {
	began := time.Now()
	if f, ok := l.stage.(stage.Flusher); ok {
		if l.next == 0 {
			l.next = batch.Now.Unix() + 1
		}
		for ; l.next <= batch.Now.Unix(); l.next++ {
			made := &stage.Batch{}
			made.Reset(1)
			if err := f.Flush(b.Context(), time.Unix(l.next, 0), false, made); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.stage.Process(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func heapObjects() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
