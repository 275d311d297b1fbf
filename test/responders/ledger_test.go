package responders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
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
	publish(t, r)
	if _, err := r.StartWorker("first"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.StartWorker("ask"); err != nil {
			t.Fatal(err)
		}
	}
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
			running := r.Running("ask")
			running[lot.IntN(len(running))].Kill9()
			if _, err := r.StartWorker("ask"); err != nil {
				t.Fatal(err)
			}
		}
	}
	account(t, r)
	noViolations(t, r)
}

// noViolations: workers have all the rights that they need.
func noViolations(t *testing.T, r *rig.Rig) {
	t.Helper()
	log, err := os.ReadFile(r.Server().LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("Violation")) {
		t.Error("the log of the server says that a right is missing")
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

// startRig starts the pipeline on a server where workers have the rights that nats-permissions prints, and no others.
func startRig(t *testing.T, manifest string) *rig.Rig {
	t.Helper()
	dir, binary := t.TempDir(), harness.BuildBinary(t, harness.BuildOptions{})
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("pipeline.yaml", manifest)
	printed, err := exec.CommandContext(t.Context(), binary, "nats-permissions", "-f", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for _, user := range []string{"default.p.first", "default.p.ask", "millrace-operator", "millrace-collector"} {
		fmt.Fprintf(&users, "%s: %q\n", permissions.Variable(user, "password"), "of-"+user)
	}
	users.WriteString(strings.Replace(string(printed), "users = [\n", "users = [\n{user: admin, password: admin}\n", 1))
	r, err := rig.Start(t.Context(), rig.Options{
		Binary: binary, Dir: filepath.Join(dir, "rig"), Manifest: file, NATS: natsserver.Options{User: "admin", Password: "admin", Config: users.String()},
		Login: func(stage string) config.NATS {
			user := "default.p." + stage
			return config.NATS{UserFile: write(stage+".user", user), PasswordFile: write(stage+".password", "of-"+user)}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var logs bytes.Buffer
			r.Logs(&logs, 3000)
			t.Log(logs.String())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func publish(t *testing.T, r *rig.Rig) {
	t.Helper()
	js := r.JetStream()
	for from := 0; from < backlog; from += perLine {
		var lines strings.Builder
		for i := from; i < from+perLine; i++ {
			fmt.Fprintf(&lines, `{"id":"%d","source":"test","type":"t","subject":"s%d","body":"event %d of a trial"}`+"\n", i, i%keys, i)
		}
		m := nats.NewMsg("default.p.raw.s")
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Data = []byte(lines.String())
		if _, err := js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the backlog is not stored")
	}
}

// account counts each event that was published.
func account(t *testing.T, r *rig.Rig) {
	t.Helper()
	seen, last := map[int]int{}, map[string]int{}
	each(t, r, "out", func(e *event.Event, _ time.Time) {
		n, _ := strconv.Atoi(e.ID)
		seen[n]++
		if v, _ := e.Get(event.AttributesMap, "answer"); v.Any() != int64(n) {
			t.Errorf("event %d has the answer %v", n, v.Any())
		}
		key := strings.Clone(e.Subject)
		if before, ok := last[key]; ok && before >= n {
			t.Errorf("event %d of key %s is behind %d", n, key, before)
		}
		last[key] = n
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

// each reads all that is stored on a port of the stage, and when it was stored.
func each(t *testing.T, r *rig.Rig, port string, visit func(e *event.Event, stored time.Time)) {
	t.Helper()
	out := r.Output("ask", port)
	stream, err := r.JetStream().Stream(t.Context(), out.Stream)
	if err != nil {
		t.Fatal(err)
	}
	d := decode.New(decode.Limits{})
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		FilterSubject: out.Stored("ask"), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer all.Stop()
	for range consumer.CachedInfo().NumPending {
		m, err := all.Next(jetstream.NextMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		events, bad := d.Decode(nil, decode.Message{Header: map[string][]string(m.Headers()), Data: m.Data()})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		for i := range events {
			visit(&events[i], meta.Timestamp)
		}
		d.Reset()
	}
}
