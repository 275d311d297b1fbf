package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
)

// baselineProgram is the first argument that makes this binary a stage of the seed's design.
const baselineProgram = "baseline-stage"

// What the seed's design says: a consumer with 1000 unacknowledged messages at most, and
// enrich with ten workers that fetch 100 messages at a time.
const (
	seedMaxAckPending = 1000
	seedPullers       = 10
	seedFetch         = 100
)

func startBaseline(ctx context.Context, t *trial) error {
	t.perAck = 1
	return startPrograms(ctx, t, baselineProgram, seedMaxAckPending, func(string) []string {
		return []string{"--snapshot", t.snapshot}
	})
}

// seedStage runs a stage as the seed's design has it: one event a message, JSON in and out,
// the publish not awaited. It is kinder to the seed than it was written: it decodes and
// encodes with Millrace's own code.
type seedStage struct {
	*program
	stage    stage.Stage
	stateful bool
	// alone is held while a stateful stage works.
	alone sync.Mutex
}

func runBaseline(ctx context.Context, args []string) error {
	var snapshot string
	p, err := newProgram(ctx, args, func(f *flag.FlagSet) {
		f.StringVar(&snapshot, "snapshot", "", "file that answers Kubernetes look-ups")
	})
	if err != nil {
		return err
	}
	defer p.stop()
	registry := stage.NewRegistry(validate.NewFactory(), correlate.NewFactory(), analyze.NewFactory(),
		enrich.NewFactory(enrichkubernetes.Choice{Snapshot: snapshot}.Open))
	factory, err := registry.Factory(p.config.Kind)
	if err != nil {
		return err
	}
	s := &seedStage{program: p, stateful: factory.Stateful(p.config)}
	s.stage, err = factory.New(stage.Settings{Config: p.config, Log: discard, Now: time.Now, Metrics: p.metrics, Lanes: 1})
	if err != nil {
		return err
	}
	if err := s.stage.Start(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	pullers := 1
	if p.config.Kind == config.KindEnrich {
		pullers = seedPullers
	}
	for range pullers {
		group.Go(func() error { return s.pull(ctx) })
	}
	if flusher, ok := s.stage.(stage.Flusher); ok {
		group.Go(func() error { return s.flush(ctx, flusher) })
	}
	return group.Wait()
}

func (s *seedStage) pull(ctx context.Context) error {
	decoder := decode.New(decode.Limits{})
	for ctx.Err() == nil {
		batch, err := s.input.Fetch(seedFetch, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := s.handle(ctx, decoder, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// handle processes one message, which is one event.
func (s *seedStage) handle(ctx context.Context, decoder *decode.Decoder, m jetstream.Msg) error {
	defer decoder.Reset()
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	var b stage.Batch
	var bad []decode.Undecodable
	b.Events, bad = decoder.Decode(nil, decode.Message{
		Header: m.Headers(), Data: m.Data(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano(),
	})
	if len(bad) > 0 {
		return fmt.Errorf("message %d: %w", meta.Sequence.Stream, bad[0].Err)
	}
	b.Now = meta.Timestamp
	b.Reset(1)
	if err := s.process(ctx, &b); err != nil {
		return err
	}
	for i := range b.Events {
		d := b.Decision(i)
		if d.Verdict != stage.Emit {
			continue
		}
		data, err := cloudevent.Append(nil, &b.Events[i])
		if err != nil {
			return err
		}
		if err := s.emit(d.Ports, data); err != nil {
			return err
		}
	}
	if err := s.emitProduced(&b); err != nil {
		return err
	}
	return m.Ack()
}

func (s *seedStage) process(ctx context.Context, b *stage.Batch) error {
	if s.stateful {
		s.alone.Lock()
		defer s.alone.Unlock()
	}
	return s.stage.Process(ctx, b)
}

func (s *seedStage) emitProduced(b *stage.Batch) error {
	for _, p := range b.Produced() {
		if err := s.emit(p.Port, cloudevent.AppendProto(nil, p.Event)); err != nil {
			return err
		}
	}
	return nil
}

func (s *seedStage) emit(port stage.Ports, data []byte) error {
	_, err := s.publish(&nats.Msg{Subject: s.config.Outputs[max(port, stage.Out).String()].Subject + ".event", Data: data})
	return err
}

func (s *seedStage) flush(ctx context.Context, flusher stage.Flusher) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		var b stage.Batch
		b.Reset(1)
		s.alone.Lock()
		err := flusher.Flush(ctx, time.Now(), false, &b)
		s.alone.Unlock()
		if err != nil {
			return err
		}
		if err := s.emitProduced(&b); err != nil {
			return err
		}
	}
}
