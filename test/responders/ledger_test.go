package responders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/event"
)

const (
	backlog = 40_000
	perLine = 50
	keys    = 16
	// refusedEvery is how often a responder refuses an event for good.
	refusedEvery = 997
)

// moods are what responders do by lot: a request is answered, answered twice, late, not at all, or with garbage.
type moods struct {
	wild   atomic.Bool
	number atomic.Int64
}

// TestNothingIsLostOrDoubled: workers are killed and frozen, and responders misbehave, all along. In the end each event is in the output once, with its
// own answer, or in the dead letters once; and the events of a key are in order.
func TestNothingIsLostOrDoubled(t *testing.T) {
	r := startRig(t, manifest)
	m := &moods{}
	m.wild.Store(true)
	for range 2 {
		m.respond(t, r)
	}
	publish(t, r, 0, backlog)
	startWorkers(t, r)
	lot := rand.New(rand.NewPCG(1, 7))
	drained := make(chan error, 1)
	go func() { drained <- r.WaitDrained(t.Context()) }()
	for faults, done := 0, false; !done; {
		select {
		case err := <-drained:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-time.After(time.Duration(100+lot.IntN(400)) * time.Millisecond):
			if faults++; faults > 10 {
				m.wild.Store(false)
				continue
			}
			killOne(t, r, lot)
		}
	}
	account(t, r)
	rigtest.CheckRights(t, r.Server())
}

// startWorkers starts two workers that ask, and one before them.
func startWorkers(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, stage := range []string{"first", "ask", "ask"} {
		if _, err := r.StartWorker(stage); err != nil {
			t.Fatal(err)
		}
	}
}

// killOne kills one of the workers that ask, and starts another.
func killOne(t *testing.T, r *rig.Rig, lot *rand.Rand) {
	t.Helper()
	running := r.Running("ask")
	running[lot.IntN(len(running))].Kill9()
	if _, err := r.StartWorker("ask"); err != nil {
		t.Fatal(err)
	}
}

// respond has one of a group listen on a connection of its own.
func (m *moods) respond(t *testing.T, r *rig.Rig) *nats.Conn {
	t.Helper()
	conn, err := r.Server().Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	_, err = conn.QueueSubscribe("models.test", "group", func(msg *nats.Msg) {
		var e struct{ ID string }
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			t.Errorf("no event: %s", msg.Data)
			return
		}
		n, _ := strconv.Atoi(e.ID)
		answer := fmt.Appendf(nil, `{"attributes": {"answer": %d}}`, n)
		if n%refusedEvery == 0 {
			answer = []byte(`{"error": {"message": "bad", "permanent": true}}`)
		}
		mood := int64(100)
		if m.wild.Load() {
			mood = m.number.Add(1) % 100
		}
		switch mood {
		case 0:
			return
		case 1:
			_ = msg.Respond([]byte("\x00 garbage"))
			return
		case 2:
			_ = msg.Respond(answer)
		case 3:
			time.AfterFunc(300*time.Millisecond, func() { _ = msg.Respond(answer) })
			return
		case 4:
			answer = bytes.Repeat(answer, 10_000)
		}
		_ = msg.Respond(answer)
	})
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

const manifest = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {namespace: default, name: p}
spec:
  partitions: 4
  stages:
  - {name: first, from: [ingress], validate: {}}
  - {name: ask, from: [first], gather: {nats: {subject: models.test}, timeout: 100ms, onIncomplete: Hold}}
`

func startRig(t *testing.T, manifest string) *rig.Rig {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "pipeline.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return rigtest.StartRestricted(t.Context(), t, "default.p", rig.Options{
		Binary: harness.BuildBinary(t, harness.BuildOptions{}), Dir: filepath.Join(dir, "rig"), Manifest: file,
	})
}

// publish publishes the events from one number to before another.
func publish(t *testing.T, r *rig.Rig, from, to int) {
	t.Helper()
	js := r.JetStream()
	for ; from < to; from += perLine {
		var lines strings.Builder
		for i := from; i < from+perLine; i++ {
			fmt.Fprintf(&lines, `{"id":"%d","source":"test","type":"t","subject":"s%d","body":"event %d of a trial"}`+"\n", i, i%keys, i)
		}
		if _, err := js.PublishMsgAsync(message(lines.String())); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the backlog is not stored")
	}
}

// message is a message of the ingress, with an event on each line.
func message(lines string) *nats.Msg {
	m := nats.NewMsg("default.p.raw.s")
	m.Header.Set("Content-Type", "application/x-ndjson")
	m.Data = []byte(lines)
	return m
}

// inOrder is the last event of each key.
type inOrder map[string]int

// next checks that event n of a key has its own answer, and comes behind those before it.
func (last inOrder) next(t *testing.T, e *event.Event, key string, n int) {
	t.Helper()
	if v, _ := e.Get(event.AttributesMap, "answer"); v.Any() != int64(n) {
		t.Errorf("event %d has the answer %v", n, v.Any())
	}
	if before, ok := last[key]; ok && before >= n {
		t.Errorf("event %d of key %s is behind %d", n, key, before)
	}
	last[strings.Clone(key)] = n
}

// account counts each event that was published.
func account(t *testing.T, r *rig.Rig) {
	t.Helper()
	seen, last := map[int]int{}, inOrder{}
	each(t, r, "out", func(e *event.Event, _ time.Time) {
		n, _ := strconv.Atoi(e.ID)
		seen[n]++
		last.next(t, e, e.Subject, n)
	})
	dead := map[int]int{}
	each(t, r, "dead-letter", func(e *event.Event, _ time.Time) {
		n, _ := strconv.Atoi(e.ID)
		dead[n]++
	})
	for n := range backlog {
		want := 0
		if n%refusedEvery == 0 {
			want = 1
		}
		if seen[n] != 1-want || dead[n] != want {
			t.Errorf("event %d is stored %d times, and %d times a dead letter", n, seen[n], dead[n])
		}
	}
}

// each visits all that is stored on a port of the stage, and says when it was stored.
func each(t *testing.T, r *rig.Rig, port string, visit func(e *event.Event, stored time.Time)) {
	t.Helper()
	out := r.Output("ask", port)
	rigtest.Stored(t.Context(), t, r, out.Stream, out.Stored("ask"), func(m jetstream.Msg, e *event.Event) {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		visit(e, meta.Timestamp)
	})
}
