package stagetest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// Suite is what is tested.
type Suite struct {
	Factory stage.Factory
	// Config holds the settings of the kind; the rest is filled in.
	Config config.StageConfig
	// Messages are the input. Empty = a generated story of a cluster with incidents, and texts that are hardly events.
	Messages []replay.Message
	// Requester is for a stage that asks others over NATS.
	Requester stage.Requester
}

// story ends at a fixed time, so that every run has the same input.
var story = generator.Options{Seed: 11, Events: 6000, Duplicates: 200, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	s.complete(t)
	want := s.run(t)
	t.Run("the same input makes the same output", func(t *testing.T) { s.same(t, want, s.run(t)) })
	t.Run("lent memory is not kept", s.memory)
	if _, ok := s.instance(t).(stage.Reloader); ok {
		t.Run("a config like the one it has changes nothing", func(t *testing.T) { s.same(t, want, s.start(t).RunReloading(s.Messages, 7, &s.Config)) })
	}
	t.Run("nothing runs on after Shutdown", s.shutdown)
	if s.Factory.Stateful(&s.Config) {
		t.Run("a rebuilt state is the same", func(t *testing.T) { s.rebuild(t, want) })
		if _, ok := s.instance(t).(stage.Snapshotter); ok {
			s.snapshots(t, want)
		}
		return
	}
	t.Run("batches do not matter", s.batches)
	t.Run("several goroutines at once", s.concurrent)
}

// Snapshots runs the part of the suite that is about stage.Snapshotter. Run does so, too: this is for what a replay
// does not make the same.
func Snapshots(t *testing.T, s Suite) {
	s.complete(t)
	s.snapshots(t, s.run(t))
}

func (s *Suite) complete(t *testing.T) {
	t.Helper()
	s.Config.Kind = s.Factory.Kind()
	if s.Config.Stage == "" {
		s.Config.Stage = "stage"
	}
	s.Config.Pipeline = config.PipelineRef{Namespace: "default", Name: "p"}
	if s.Messages == nil {
		s.Messages = replay.Story(t, story, 30*time.Second)
		if s.Requester != nil { // somebody is asked about every event, again and again
			s.Messages = s.Messages[:len(s.Messages)/4]
		}
		s.Messages = append(s.Messages, oddities()...)
	}
}

// oddities are events that hardly are any, an hour behind the story.
func oddities() (messages []replay.Message) {
	at := story.End.Add(time.Hour)
	for _, text := range []string{
		`{}`, `{"id":""}`, `{"id":"x","time":"0001-01-01T00:00:00Z"}`, `{"metric":{"name":"m","value":1e308}}`, `{"metric":{"name":"","value":-0.0}}`,
		`{"entity":{"kind":"Pod"}}`, `{"entity":{"name":"` + strings.Repeat("n", 5000) + `"},"severitynumber":24,"type":"k8s.event"}`,
		`{"type":"k8s.event","k8s":{"reason":"BackOff"},"severitynumber":13}`, `{"type":"\u0000","source":"\ud83d\ude00","message":"` + strings.Repeat("ü", 3000) + `"}`,
		`{"span":{"status":"error"},"traceid":"00000000000000000000000000000000"}`, `{"related":[{},{},{"role":"workload"}]}`,
	} {
		at = at.Add(time.Second)
		messages = append(messages, replay.Message{Stored: at, Data: []byte(text)})
	}
	return messages
}

func (s *Suite) instance(t *testing.T) stage.Stage {
	t.Helper()
	made, err := s.Factory.New(stage.Settings{
		Config: &s.Config, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return story.End }, Metrics: prometheus.NewRegistry(), Lanes: s.Config.Lanes,
		Requester: s.Requester,
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// start starts an instance, which the test shuts down.
func (s *Suite) start(t *testing.T) *replay.Instance {
	t.Helper()
	in := replay.New(t, s.instance(t))
	t.Cleanup(func() {
		if err := in.Stage.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return in
}

func (s *Suite) run(t *testing.T) []replay.Step {
	t.Helper()
	return s.start(t).Run(s.Messages)
}

func (s *Suite) same(t *testing.T, want, got []replay.Step) {
	t.Helper()
	if d := replay.Diff(want, got, 0); d != "" {
		t.Error(d)
	}
}

// memory has every message overwritten when the call is over that saw it, and runs the same beside it without.
func (s *Suite) memory(t *testing.T) {
	lent := s.start(t)
	lent.Poison = true
	s.same(t, s.run(t), lent.Run(s.Messages))
}

func (s *Suite) rebuild(t *testing.T, want []replay.Step) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 6 {
		at := 1 + r.IntN(len(s.Messages)-1)
		end := min(at+300, len(s.Messages))
		got := replay.Rebuild(t, s.instance(t), s.Messages, at, want).Run(s.Messages[at:end])
		if d := replay.Diff(want[at:end], got, at); d != "" {
			t.Errorf("rebuilt before message %d: %s", at, d)
		}
	}
}

// shutdown counts goroutines before New and after Shutdown.
func (s *Suite) shutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		made := s.instance(t)
		if err := made.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := made.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines run on:\n%s", runtime.NumGoroutine()-before, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outcome is what became of one event, and what was made of its batch.
type outcome map[string]int

// judge gives the stage all events in batches of size, and counts what comes out.
func (s *Suite) judge(t *testing.T, of stage.Stage, size int) outcome {
	t.Helper()
	all := outcome{}
	decoder := decode.New(decode.Limits{})
	for part := range slices.Chunk(s.Messages, size) {
		decoder.Reset()
		var b stage.Batch
		for i, m := range part {
			b.Events, _ = decoder.Decode(b.Events, decode.Message{Header: m.Header, Data: m.Data, Sequence: uint64(i + 1), Time: m.Stored.UnixNano()})
		}
		b.Now, b.Partition = part[0].Stored, -1
		b.Reset(1)
		if err := of.Process(t.Context(), &b); err != nil {
			t.Error(err)
			return all
		}
		for i := range b.Events {
			d := b.Decision(i)
			all[fmt.Sprint(d.Verdict, " ", d.Ports, " ", d.Reason, " ", string(bytes.ToValidUTF8(b.Events[i].AppendProto(nil), []byte("?"))))]++
		}
		for _, p := range b.Produced() {
			e, err := p.Message()
			if err != nil {
				t.Error(err)
				return all
			}
			all[p.Port.String()+" "+e.GetId()]++
		}
	}
	return all
}

func (s *Suite) batches(t *testing.T) {
	of := s.start(t).Stage
	want := s.judge(t, of, 1)
	for _, size := range []int{2, 17, 256} {
		if diff := cmp.Diff(want, s.judge(t, of, size)); diff != "" {
			t.Errorf("%d messages at once (-one +%d):\n%s", size, size, diff)
		}
	}
}

func (s *Suite) concurrent(t *testing.T) {
	of := s.start(t).Stage
	want := s.judge(t, of, 16)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if diff := cmp.Diff(want, s.judge(t, of, 16)); diff != "" {
				t.Errorf("beside others (-alone +beside others):\n%s", diff)
			}
		})
	}
	all.Wait()
}
