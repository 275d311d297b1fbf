package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/event"
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
	return row, t.settle(ctx, p, n, row)
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

// settle reads the stream of the enrich stage: it counts each event of the run, and takes
// the time until its message was acknowledged.
func (t *trial) settle(ctx context.Context, p *publisher, n int, row *Row) error {
	acked, err := t.acks.times(t.filters)
	if err != nil {
		return err
	}
	counts := make([]uint8, n)
	latencies := make([]float32, 0, n)
	var unknown, tried, found int
	decoder := event.NewDecoder(event.Limits{})
	err = t.each(ctx, t.rig.Output(enrichStage, "out").Stream, func(m jetstream.Msg, sequence uint64) error {
		defer decoder.Reset()
		data := m.Data()
		if size, err := strconv.Atoi(m.Headers().Get(hopSize)); err == nil {
			data = data[:size]
		}
		events, bad := decoder.Decode(nil, event.Message{Header: m.Headers(), Data: data})
		if len(bad) > 0 {
			return fmt.Errorf("message %d: %w", sequence, bad[0].Err)
		}
		at := acked.of(m.Subject(), sequence)
		for i := range events {
			position, ok := t.shape.events.positionOf(events[i].ID)
			if !ok || position >= n {
				continue // of the warm-up
			}
			if counts[position] < math.MaxUint8 {
				counts[position]++
			}
			for e := range events[i].Enrichments {
				if e.By == "kubernetes" {
					tried++
					if e.Status == "ok" {
						found++
					}
				}
			}
			if at == 0 {
				unknown++
				continue
			}
			latencies = append(latencies, float32(float64(at-p.sent[position/t.load.perMessage])/1e6))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range counts {
		switch {
		case c == 0:
			row.Lost++
		case c > 1:
			row.Duplicated += int(c) - 1
		}
	}
	if unknown > 0 {
		return fmt.Errorf("no acknowledgement was seen of %d events", unknown)
	}
	if tried > 0 {
		row.FoundInCluster = round(float64(found)/float64(tried), 3)
	}
	slices.Sort(latencies)
	row.P50, row.P99, row.P999 = quantile(latencies, 0.5), quantile(latencies, 0.99), quantile(latencies, 0.999)
	return nil
}

// each reads a whole stream.
func (t *trial) each(ctx context.Context, name string, visit func(m jetstream.Msg, sequence uint64) error) error {
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
		if err := visit(m, meta.Sequence.Stream); err != nil {
			return errors.Join(fmt.Errorf("read %s", name), err)
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
