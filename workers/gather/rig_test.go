package gather

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/requests"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a NATS server with a connection for the stage and one for responders.
type rig struct {
	t              testing.TB
	server         *natsserver.Embedded
	worker, others *nats.Conn
	metrics        *prometheus.Registry
}

func newRig(t testing.TB, options natsserver.Options) *rig {
	t.Helper()
	options.NoJetStream = true
	r := &rig{t: t, server: harness.RunEmbeddedNATS(t, options), metrics: prometheus.NewRegistry()}
	r.worker, r.others = r.connect(), r.connect()
	return r
}

func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	conn, err := nats.Connect(r.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	return conn
}

// respond has a responder of its own listen on the subject "ask".
func (r *rig) respond(how func(m *nats.Msg)) *nats.Subscription {
	r.t.Helper()
	s, err := r.others.Subscribe("ask", how)
	if err == nil {
		err = r.others.Flush()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// answers responds to each request with the same text.
func (r *rig) answers(text string) {
	r.t.Helper()
	r.respond(func(m *nats.Msg) { _ = m.Respond([]byte(text)) })
}

func asking(change func(*config.Gather)) *config.Gather {
	c := &config.Gather{
		NATS: &config.GatherNATS{Subject: "ask", MaxInFlight: 64}, MaxEvents: 1, Timeout: config.Duration(100 * time.Millisecond), Quorum: 1, Max: 1,
		OnIncomplete: config.IncompleteEmit, Merge: config.MergeFirst,
	}
	if change != nil {
		change(c)
	}
	return c
}

// patient has a stage wait for responders that answer at once, on however busy a machine.
func patient(c *config.Gather) { c.Timeout = config.Duration(20 * time.Second) }

func (r *rig) stage(c *config.Gather) *gatherer {
	r.t.Helper()
	return r.start(&config.StageConfig{Gather: c})
}

// start starts a stage.
func (r *rig) start(c *config.StageConfig) *gatherer {
	r.t.Helper()
	c.Stage, c.Kind = "s", config.KindGather
	made, err := NewFactory().New(stage.Settings{
		Config: c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: r.metrics, Requester: requests.On(r.worker),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := made.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = made.Shutdown(context.Background()) })
	return made.(*gatherer)
}

// batch has n events with the ids 0, 1, and so on.
func batch(t testing.TB, n int) *stage.Batch {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"id":"%d","source":"s","type":"t","subject":"a/b","attributes":{"own":1}}`+"\n", i)
	}
	return batchOf(t, lines.String())
}

func batchOf(t testing.TB, lines string) *stage.Batch {
	t.Helper()
	b := &stage.Batch{}
	var bad []decode.Undecodable
	b.Events, bad = decode.New(decode.Limits{}).Decode(nil, decode.Message{
		Data: []byte(lines), Sequence: 1, Header: map[string][]string{event.HeaderContentType: {"application/x-ndjson"}},
	})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	b.Reset(1)
	return b
}

func process(t testing.TB, s stage.Stage, b *stage.Batch) *stage.Batch {
	t.Helper()
	if err := s.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b
}

// became says what became of event i: the verdict, and the attributes that it has beyond its own.
func became(b *stage.Batch, i int) string {
	d := b.Decision(i)
	text := []string{d.Verdict.String()}
	if d.Verdict != stage.Emit {
		if d.Reason != "" {
			text = append(text, d.Reason)
		}
		return strings.Join(append(text, fmt.Sprint(d.Err)), " ")
	}
	m, err := b.Events[i].ToProto()
	if err != nil {
		return err.Error()
	}
	for _, kv := range m.GetAttributes() {
		if kv.GetKey() != "own" {
			v, _ := b.Events[i].Get(event.AttributesMap, kv.GetKey())
			text = append(text, fmt.Sprintf("%s=%v", strings.TrimPrefix(kv.GetKey(), "gather.s."), v.Any()))
		}
	}
	return strings.Join(text, " ")
}

// wantCount waits until a metric has a value.
func (r *rig) wantCount(name, label string, want float64) {
	r.t.Helper()
	harness.Eventually(r.t, 10*time.Second, func() error {
		if got := r.count(name, label); got != want {
			return fmt.Errorf("%s %s is %g, want %g", name, label, got, want)
		}
		return nil
	})
}

// count is the value of a metric whose labels have a value; "" = of one without labels.
func (r *rig) count(name, label string) float64 {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "millrace_gather_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	r.t.Fatalf("there is no metric %s %s", name, label)
	return 0
}
