package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// perMessage is how many lines a message of the input has.
const perMessage = 20

// TestUnderFaults: pipelines come to the same although workers and NATS are killed and workers come and go meanwhile. Real workers run them, each stage
// in processes of its own.
func TestUnderFaults(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	for seed := uint64(1); seed <= *faultSeeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			lot := rand.New(rand.NewPCG(seed, 15))
			p := newPipeline(lot)
			for len(p.stages) > 5 {
				p.stages = p.stages[:len(p.stages)-1] // nobody reads the last one
			}
			input := newInput(lot, 20*perMessage*10)
			underFaults(t, binary, p, input, lot)
			if t.Failed() {
				t.Logf("%s", p.manifest("/tmp"))
			}
		})
	}
}

func underFaults(t *testing.T, binary string, p *pipeline, input []line, lot *rand.Rand) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dir := t.TempDir()
	file := filepath.Join(dir, "pipeline.json")
	if err := os.WriteFile(file, p.manifest(dir), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rigtest.Start(ctx, t, rig.Options{Binary: binary, Manifest: file, Dir: filepath.Join(dir, "rig")})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	published := make(chan error, 1)
	go func() { published <- publish(ctx, r, input) }()
	for faults, open := 0, true; open; {
		select {
		case err := <-published:
			if err != nil {
				t.Fatal(err)
			}
			open = false
		case <-time.After(time.Duration(lot.IntN(700)) * time.Millisecond):
			if faults++; faults > 12 {
				continue
			}
			if err := befall(ctx, r, p, lot); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := befall(ctx, r, p, lot); err != nil { // in the backlog, too
		t.Fatal(err)
	}
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	model := p.run(input)
	p.keep(model)
	real := stored(ctx, t, r, p)
	if err := real.readSinks(p, dir); err != nil {
		t.Fatal(err)
	}
	for name, c := range model.counts { // the rest only the workers knew that are dead
		model.counts[name] = &counts{dead: c.dead}
	}
	for _, problem := range differences(model, real) {
		t.Error(problem)
	}
}

// publish stores the input in order, each message until it is confirmed.
func publish(ctx context.Context, r *rig.Rig, input []line) error {
	for from := 0; from < len(input); from += perMessage {
		var text strings.Builder
		for _, l := range input[from:min(from+perMessage, len(input))] {
			text.WriteString(l.text + "\n")
		}
		m := nats.NewMsg("default.model.raw.x")
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Header.Set(jetstream.MsgIDHeader, fmt.Sprint(from))
		m.Data = []byte(text.String())
		for {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := r.JetStream().PublishMsg(try, m)
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("publish line %d: %w", from, err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// befall kills a worker or the server, or has a worker come and another one go.
func befall(ctx context.Context, r *rig.Rig, p *pipeline, lot *rand.Rand) error {
	stage := pick(lot, p.stages).name
	switch lot.IntN(5) {
	case 0:
		r.KillNATS()
		time.Sleep(time.Duration(lot.IntN(300)) * time.Millisecond)
		return r.RestartNATS(ctx)
	case 1:
		if _, err := r.StartWorker(stage); err != nil {
			return err
		}
		_, err := r.Running(stage)[0].Term(40 * time.Second)
		return err
	}
	r.Running(stage)[0].Kill9()
	if len(r.Running(stage)) > 1 {
		return nil
	}
	_, err := r.StartWorker(stage)
	return err
}

// stored is what streams hold.
func stored(ctx context.Context, t *testing.T, r *rig.Rig, p *pipeline) *outcome {
	t.Helper()
	o := &outcome{ports: map[string][]*ev{}, counts: map[string]*counts{}}
	for _, s := range p.stages {
		o.counts[s.name] = &counts{dead: map[string]int64{}}
		for _, port := range s.ports {
			out, name := r.Output(s.name, port), s.name+"/"+port
			rigtest.Stored(ctx, t, r, out.Stream, out.Subject+".*", func(_ jetstream.Msg, stored *event.Event) {
				text, err := cloudevent.Append(nil, stored)
				if err != nil {
					t.Fatal(err)
				}
				e, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				o.ports[name] = append(o.ports[name], e)
			})
		}
	}
	dead := r.Output(p.stages[0].name, "dead-letter")
	rigtest.Letters(ctx, t, r, dead.Stream, func(m jetstream.Msg) {
		o.counts[m.Headers().Get("Millrace-Stage")].dead[m.Headers().Get("Millrace-Reason")]++
	})
	return o
}
