package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// hopProgram is the first argument that makes this binary a hop of the ceiling.
const hopProgram = "hop"

const (
	hopMaxAckPending = 512
	hopWindow        = 128
	// hopSize is the header that holds how many bytes of a message came in; the rest is
	// filling, so that as many bytes are stored as the pipeline stores.
	hopSize = "Bench-Size"
	// hopLeast is the least number of bytes that are worth a message.
	hopLeast = 1024
)

// startCeiling starts a hop for each stage. When the row pipeline was measured before, each
// hop stores as many bytes for each that it reads as its stage did then, and no fewer than it
// reads before the stream in which each event is looked for: there every message is to be whole.
func startCeiling(ctx context.Context, t *trial) error {
	t.perAck = perFrame
	ratios, err := t.hopRatios()
	if err != nil {
		return err
	}
	return startPrograms(ctx, t, hopProgram, hopMaxAckPending, func(stage string) []string {
		return []string{"--ratio", strconv.FormatFloat(ratios[stage], 'f', 4, 64)}
	})
}

// hopRatios are the bytes that each stage stores for a byte that it reads.
func (t *trial) hopRatios() (map[string]float64, error) {
	ratios := map[string]float64{validateStage: 1, enrichStage: 1}
	for i := range t.report.Rows {
		row := &t.report.Rows[i]
		if row.Name != "pipeline" {
			continue
		}
		for _, s := range t.rig.Plan().Stages {
			in, out := row.Streams[s.Consumers[0].Stream], row.Streams[s.Config.Outputs["out"].Stream]
			if in.BytesPerEvent == 0 {
				return nil, fmt.Errorf("stream %s was empty in the row pipeline", s.Consumers[0].Stream)
			}
			ratios[s.Name] = out.BytesPerEvent / in.BytesPerEvent
			if s.Name == validateStage || s.Name == enrichStage {
				ratios[s.Name] = max(ratios[s.Name], 1)
			}
		}
	}
	return ratios, nil
}

type hop struct {
	*program
	ratio   float64
	filling []byte
	// owed are bytes that are not stored yet, of stages that store less than they read.
	owed float64
	next int
}

// stored is a message that waits for the PubAck of what it caused.
type stored struct {
	message jetstream.Msg
	future  jetstream.PubAckFuture
}

func runHop(ctx context.Context, args []string) error {
	h := &hop{filling: make([]byte, 4<<20)}
	var err error
	h.program, err = newProgram(ctx, args, func(f *flag.FlagSet) {
		f.Float64Var(&h.ratio, "ratio", 1, "bytes to store for each byte that is read")
	})
	if err != nil {
		return err
	}
	defer h.stop()
	messages, err := h.input.Messages(jetstream.PullMaxMessages(hopMaxAckPending))
	if err != nil {
		return err
	}
	defer messages.Stop()
	waiting := make(chan stored, hopWindow)
	failed := make(chan error, 1)
	go func() { failed <- acknowledge(waiting) }()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		future, err := h.forward(m)
		if err != nil {
			return err
		}
		select {
		case waiting <- stored{m, future}:
		case err := <-failed:
			return err
		}
	}
}

// acknowledge acknowledges in order what is stored.
func acknowledge(waiting <-chan stored) error {
	for one := range waiting {
		if one.future != nil {
			select {
			case <-one.future.Ok():
			case err := <-one.future.Err():
				return fmt.Errorf("publish: %w", err)
			}
		}
		if err := one.message.Ack(); err != nil {
			return err
		}
	}
	return errors.New("ended")
}

// forward publishes what the message is worth; the future is nil when that is nothing yet.
func (h *hop) forward(m jetstream.Msg) (jetstream.PubAckFuture, error) {
	data := m.Data()
	if header := m.Headers().Get(hopSize); header != "" {
		size, err := strconv.Atoi(header)
		if err != nil {
			return nil, err
		}
		data = data[:size]
	}
	h.owed += float64(len(m.Data())) * h.ratio
	if h.owed < hopLeast {
		return nil, nil
	}
	size := min(int(h.owed), len(h.filling))
	h.owed = 0
	h.next++
	out := &nats.Msg{
		Subject: h.config.Outputs["out"].Subject + "." + strconv.Itoa(h.next%h.config.Partitions),
		Header:  nats.Header{hopSize: {strconv.Itoa(min(size, len(data)))}},
	}
	for name, values := range m.Headers() {
		if name != hopSize {
			out.Header[name] = values
		}
	}
	if size <= len(data) {
		out.Data = data[:size]
	} else {
		out.Data = append(append(make([]byte, 0, size), data...), h.filling[:size-len(data)]...)
	}
	return h.publish(out)
}
