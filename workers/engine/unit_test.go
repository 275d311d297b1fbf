package engine

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func TestBackoff(t *testing.T) {
	for name, c := range map[string]struct {
		failures int
		jitter   float64
		want     time.Duration
	}{
		"first":           {0, 0, 100 * time.Millisecond},
		"doubles":         {3, 0, 800 * time.Millisecond},
		"limited":         {10, 0, 5 * time.Second},
		"no overflow":     {200, 0, 5 * time.Second},
		"half by jitter":  {0, 0.999999999, 50 * time.Millisecond},
		"a third of half": {0, 1.0 / 3, 83 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			got := backoff(100*time.Millisecond, 5*time.Second, c.failures, c.jitter).Round(time.Millisecond)
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestHeaderText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":     {"all well", "all well"},
		"one line":  {"a\r\nNats-Msg-Id: forged\x00", "a  Nats-Msg-Id: forged"},
		"bounded":   {strings.Repeat("x", 30), strings.Repeat("x", 24)},
		"rune kept": {strings.Repeat("x", 23) + "ü", strings.Repeat("x", 23)},
		"not UTF-8": {"a\xffb", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := headerText(c.in, 24); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPullsAreAccountedFor(t *testing.T) {
	in := &input{budget: 1000, maxMessages: 100, pulls: pulls{open: map[string]amount{}}}
	ask := func() (amount, bool) {
		a, ok := in.nextPull(5000)
		if ok {
			in.pulls.add(a, 0)
		}
		return a, ok
	}
	if a, _ := ask(); a != (amount{50, 5000 + messageOverhead}) {
		t.Fatalf("the first request is %+v: the largest message must fit", a)
	}
	if a, ok := ask(); ok {
		t.Fatalf("%+v was asked for beyond the budget", a)
	}
	// The server says that nothing more comes of the first.
	in.pulls.end("1", amount{50, 5000 + messageOverhead})
	if in.pulls.asked != (amount{}) || len(in.pulls.open) != 0 {
		t.Fatalf("after the end: %+v", in.pulls)
	}
	in.hand = amount{1, 400}
	if a, ok := ask(); !ok || a != (amount{50, 500}) {
		t.Fatalf("with 400 bytes in hand: %+v, %v", a, ok)
	}
	if a, ok := ask(); ok {
		t.Fatalf("%+v was asked for with 100 bytes free", a)
	}
	in.pulls.take(300, 1)
	if in.pulls.asked != (amount{49, 200}) {
		t.Fatalf("after 300 of 500 bytes: %+v", in.pulls.asked)
	}
	in.pulls.take(200, 2)
	if in.pulls.asked != (amount{}) || len(in.pulls.open) != 0 {
		t.Fatalf("a request that is filled ends without a word: %+v", in.pulls)
	}
	in.pulls.add(amount{1, 1}, 0)
	if in.pulls.dropSilent(int64(pullSilence)) || !in.pulls.dropSilent(int64(pullSilence)+1) {
		t.Error("requests are dropped after pullSilence and not before")
	}
}

func TestPubAck(t *testing.T) {
	for name, c := range map[string]struct {
		msg       *nats.Msg
		problem   string
		duplicate bool
	}{
		"stored":       {&nats.Msg{Data: []byte(`{"stream":"OUT","seq":3}`)}, "", false},
		"duplicate":    {&nats.Msg{Data: []byte(`{"stream":"OUT","seq":3,"duplicate":true}`)}, "", true},
		"full":         {&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`)}, "full (maximum bytes exceeded): waiting until there is room", false},
		"too large":    {&nats.Msg{Data: []byte(`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`)}, "its max_msg_size is smaller than a frame: raise it", false},
		"other":        {&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`)}, "insufficient resources (10023)", false},
		"no responder": {&nats.Msg{Header: nats.Header{"Status": {"503"}}}, "no stream takes the subject, or JetStream is not available", false},
		"no PubAck":    {&nats.Msg{Data: []byte(`{}`)}, "the answer to a publish is no PubAck", false},
		"no JSON":      {&nats.Msg{Data: []byte(`+OK`)}, "the answer to a publish is no PubAck", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := readPubAck(c.msg); got.problem != c.problem || got.Duplicate != c.duplicate {
				t.Errorf("got %+v, want %q, duplicate %v", got, c.problem, c.duplicate)
			}
		})
	}
}

func TestOptionsNameWhatIsWrong(t *testing.T) {
	good := func() *config.StageConfig {
		return &config.StageConfig{
			Partitions: 1, Lanes: 1, Inputs: []config.Input{{Stream: "IN", Durable: "d"}},
			Outputs: map[string]config.Output{"dead-letter": {Stream: "D", Subject: "d", Format: config.FormatRaw}},
		}
	}
	for name, c := range map[string]struct {
		change func(*config.StageConfig)
		want   string
	}{
		"inputs":      {func(c *config.StageConfig) { c.Inputs = nil }, "inputs is empty"},
		"partitions":  {func(c *config.StageConfig) { c.Partitions = 0 }, "partitions is 0"},
		"lanes":       {func(c *config.StageConfig) { c.Lanes = 3 }, "lanes is 3"},
		"dead-letter": {func(c *config.StageConfig) { c.Outputs = nil }, `no port "dead-letter"`},
		"subject":     {func(c *config.StageConfig) { c.Outputs["out"] = config.Output{Format: config.FormatFrame} }, "outputs.out.subject is empty"},
		"format":      {func(c *config.StageConfig) { c.Outputs["out"] = config.Output{Subject: "s", Format: "xml"} }, `outputs.out.format is "xml"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(cfg)
			if err := checkConfig(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "factory is missing") {
		t.Errorf("empty options: got %v", err)
	}
}

// flushed is a stage with state that remembers a minute and writes down when it is flushed.
type flushed struct{ seconds []int64 }

func (*flushed) Kind() config.Kind                           { return config.KindValidate }
func (*flushed) Stateful(*config.StageConfig) bool           { return true }
func (f *flushed) New(stage.Settings) (stage.Stage, error)   { return f, nil }
func (*flushed) Start(context.Context) error                 { return nil }
func (*flushed) Process(context.Context, *stage.Batch) error { return nil }
func (*flushed) Shutdown(context.Context) error              { return nil }
func (*flushed) Horizon() time.Duration                      { return time.Minute }

func (f *flushed) Flush(_ context.Context, now time.Time, _ bool, _ *stage.Batch) error {
	f.seconds = append(f.seconds, now.Unix())
	return nil
}

// TestFlushOfHours: what ends by the clock ends in the same second whether the lane was at work or is taken over hours
// later. So seconds are flushed one by one, for as long as something may end, and then at once.
func TestFlushOfHours(t *testing.T) {
	f := &flushed{}
	e, err := New(Options{
		Config: &config.StageConfig{
			APIVersion: config.APIVersion, Pipeline: config.PipelineRef{Namespace: "default", Name: "test"}, Stage: "validate",
			Kind: config.KindValidate, Validate: &config.Validate{}, Partitions: 1, Lanes: 1,
			Inputs:  []config.Input{{From: "ingress", Stream: "IN", Durable: "stage", Subject: "in.>"}},
			Outputs: map[string]config.Output{config.PortDeadLetter: {Stream: "DEAD", Subject: "dead.validate", Format: config.FormatRaw}},
		},
		Factory: f, Conn: &nats.Conn{}, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		t.Fatal(err)
	}
	l := newLane(e, 0)
	l.edition = e.edition.Load()
	l.begin()
	if err := l.openInstances(t.Context()); err != nil {
		t.Fatal(err)
	}
	const began = 1_700_000_000
	l.tick = began
	if !l.flushUntil(t.Context(), newStep(1), began+2*3600) {
		t.Fatal("the lane does not go on")
	}
	for i, second := range f.seconds[:len(f.seconds)-1] {
		if second != began+1+int64(i) {
			t.Fatalf("flush %d is of second %d", i, second-began)
		}
	}
	if n, last := len(f.seconds), f.seconds[len(f.seconds)-1]; n != maxFlushes+1 || last != began+2*3600 {
		t.Errorf("%d flushes, the last one of second %d", n, last-began)
	}
}

func TestFramesOfStages(t *testing.T) {
	for from, want := range map[string]bool{
		"ingress": false, "enrich/out": true, "split/late": true, "enrich/dead-letter": false, "correlate/insights": false,
	} {
		if got := framed(from); got != want {
			t.Errorf("%s: got %t, want %t", from, got, want)
		}
	}
}
