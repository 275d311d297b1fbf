package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// row makes the figures of a trial whose clock has stopped.
func (t *trial) row(ctx context.Context, p *publisher, n int, began time.Time, used []usage) (*Row, error) {
	seconds := t.acks.last().Sub(began).Seconds()
	row := &Row{Name: t.name, Events: n, Seconds: round(seconds, 3), EventsPerSecond: round(float64(n)/seconds, 0)}
	var cpu, allocs, workers float64
	for _, u := range used {
		cpu += u.cpuSeconds
		process := Process{
			Name: u.name, CPUMicrosPerEvent: round(u.cpuSeconds*1e6/float64(n), 3), PeakMB: round(u.peakMiB, 0),
			AllocsPerEvent: round(u.mallocs/float64(n), 3),
		}
		if u.worker {
			workers++
			allocs += u.mallocs / float64(n)
			row.PeakMB = max(row.PeakMB, process.PeakMB)
		}
		row.Processes = append(row.Processes, process)
	}
	row.CPUMicrosPerEvent = round(cpu*1e6/float64(n), 2)
	row.AllocsPerEvent = round(allocs/workers, 3)
	if err := t.measureStreams(ctx, row, n); err != nil {
		return nil, err
	}
	return row, t.shape.settle(ctx, t, p, n, row)
}

// measureStreams adds the bytes of all streams. The events of the warm-up are in them too, and in
// the number that they are divided by.
func (t *trial) measureStreams(ctx context.Context, row *Row, n int) error {
	warm := warmUpEvents
	if t.load.perMessage == 1 {
		warm /= 10
	}
	row.Streams = map[string]Stream{}
	var bytes uint64
	for _, s := range t.rig.Plan().Streams {
		stream, err := t.rig.JetStream().Stream(ctx, s.Name)
		if err != nil {
			return err
		}
		state := stream.CachedInfo().State
		bytes += state.Bytes
		row.Streams[s.Name] = Stream{Messages: state.Msgs, BytesPerEvent: round(float64(state.Bytes)/float64(n+warm), 1)}
	}
	row.DiskBytesPerEvent = round(float64(bytes)/float64(n+warm), 1)
	return nil
}

// counts is how often each event was seen, by its position in the order of publishing.
type counts []uint8

func (c counts) add(position int) {
	if c[position] < math.MaxUint8 {
		c[position]++
	}
}

// fill tells what was lost and what doubled.
func (c counts) fill(row *Row) {
	for _, n := range c {
		switch {
		case n == 0:
			row.Lost++
		case n > 1:
			row.Duplicated += int(n) - 1
		}
	}
}

// settleSample reads the stream of the enrich stage: it counts each event of the run, and takes
// the time until its message was acknowledged.
func settleSample(ctx context.Context, t *trial, p *publisher, n int, row *Row) error {
	acked, err := t.acks.times(t.filters)
	if err != nil {
		return err
	}
	seen := make(counts, n)
	latencies := make([]float32, 0, n)
	var unknown, tried, found int
	err = t.eachEvent(ctx, p, n, row, enrichStage, func(m *storedMessage, e *event.Event, position int) {
		seen.add(position)
		for one := range e.Enrichments {
			if one.By == "kubernetes" {
				tried++
				if one.Status == "ok" {
					found++
				}
			}
		}
		if m.acked == 0 {
			m.acked = acked.of(m.subject, m.sequence)
		}
		if m.acked == 0 {
			unknown++
			return
		}
		latencies = append(latencies, millis(m.acked-p.sent[position/t.load.perMessage]))
	})
	if err != nil {
		return err
	}
	if t.chained {
		if err := t.countThrough(ctx, n, row); err != nil {
			return err
		}
	} else {
		seen.fill(row)
	}
	if unknown > 0 {
		return fmt.Errorf("no acknowledgement was seen of %d events", unknown)
	}
	if tried > 0 {
		row.FoundInCluster = round(float64(found)/float64(tried), 3)
	}
	slices.Sort(latencies)
	row.P50, row.P99, row.P999 = quantile(latencies, 0.5), quantile(latencies, 0.99), quantile(latencies, 0.999)
	return t.eachEvent(ctx, p, n, row, validateStage, func(*storedMessage, *event.Event, int) {})
}

// countThrough counts what the last stages of a chain have seen: there is no stream between
// the stages in which each event could be counted by itself.
func (t *trial) countThrough(ctx context.Context, n int, row *Row) error {
	done, err := t.through(ctx)
	if err != nil {
		return err
	}
	row.Lost, row.Duplicated = max(0, n-int(done-t.before)), max(0, int(done-t.before)-n)
	var tried, found float64
	for _, w := range t.workersOf(enrichStage) {
		m, err := w.Metrics(ctx)
		if err != nil {
			return err
		}
		tried += m.Sum("millrace_enrich_events_total", "enricher", "kubernetes")
		found += m.Sum("millrace_enrich_events_total", "enricher", "kubernetes", "status", "ok")
	}
	row.FoundInCluster = round(found/max(tried, 1), 3)
	return nil
}

// storedMessage is a message of a stream. Times are Unix nanoseconds.
type storedMessage struct {
	subject  string
	sequence uint64
	acked    int64 // 0 = not looked up yet
}

// eachEvent reads the events of the run from the stream of a stage.
func (t *trial) eachEvent(ctx context.Context, p *publisher, n int, row *Row, stage string, visit func(*storedMessage, *event.Event, int)) error {
	return t.eachEventOf(ctx, p, n, row, t.streamOf(stage), visit)
}

// eachEventOf reads the events of the run from a stream, with their positions in the order of publishing, and adds to row
// how long it took until they were stored there.
func (t *trial) eachEventOf(ctx context.Context, p *publisher, n int, row *Row, name string, visit func(*storedMessage, *event.Event, int)) error {
	stored := make([]float32, 0, n)
	decoder := decode.New(decode.Limits{})
	err := t.each(ctx, name, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		defer decoder.Reset()
		data := m.Data()
		if size, err := strconv.Atoi(m.Headers().Get(hopSize)); err == nil {
			data = data[:size]
		}
		events, bad := decoder.Decode(nil, decode.Message{Header: m.Headers(), Data: data})
		if len(bad) > 0 {
			return fmt.Errorf("message %d: %w", meta.Sequence.Stream, bad[0].Err)
		}
		message := &storedMessage{subject: m.Subject(), sequence: meta.Sequence.Stream}
		for i := range events {
			position, ok := t.shape.events.positionOf(events[i].ID)
			if !ok || position >= n {
				continue // of the warm-up
			}
			stored = append(stored, millis(meta.Timestamp.UnixNano()-p.sent[position/t.load.perMessage]))
			visit(message, &events[i], position)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(stored)
	s := row.Streams[name]
	s.StoredP50, s.StoredP99 = quantile(stored, 0.5), quantile(stored, 0.99)
	row.Streams[name] = s
	return nil
}

func millis(nanos int64) float32 { return float32(float64(nanos) / 1e6) }

// each reads a whole stream.
func (t *trial) each(ctx context.Context, name string, visit func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	stream, err := t.rig.JetStream().Stream(ctx, name)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	if last == 0 {
		return nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(16 << 20))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := visit(m, meta); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}

// quantile of sorted values; 0 when there are none.
func quantile(sorted []float32, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return round(float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]), 2)
}

func round(v float64, digits int) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
