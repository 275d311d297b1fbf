package engine

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
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

// The ids are part of the contract between an old and a new worker: when they change, what
// is redelivered across an upgrade is stored twice.
func TestMessageIDs(t *testing.T) {
	d := digest(0).origin(event.Origin{Sequence: 7}).origin(event.Origin{Sequence: 7, Index: 1})
	for _, c := range []struct{ got, want string }{
		{frameID("validate", "RAW", 7, "out", 3, d), "validate:RAW:7:out.3:bce2f301acc9734d"},
		{frameID("correlate", "ENRICHED", 9, "out", 0, digest(0).string("incident-1")), "correlate:ENRICHED:9:out.0:"},
		{insightID("analyze", "anomaly-1", 2), "analyze:anomaly-1:2"},
		{deadLetterID("validate", "RAW", event.Origin{Sequence: 7, Index: 4}), "validate:RAW:7:4:dlq"},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestDigestTellsContentsApart(t *testing.T) {
	seen := map[digest][]event.Origin{}
	for input := range 2 {
		for seq := range uint64(30) {
			for index := range 30 {
				a := event.Origin{Input: input, Sequence: seq, Index: index}
				for _, origins := range [][]event.Origin{{a}, {a, {Sequence: 1}}, {{Sequence: 1}, a}, {a, a}} {
					d := digest(0)
					for _, o := range origins {
						d = d.origin(o)
					}
					if other, ok := seen[d]; ok && !cmp.Equal(other, origins) {
						t.Fatalf("%v and %v have the same digest", other, origins)
					}
					seen[d] = origins
				}
			}
		}
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
	in := &input{budget: 1000, maxMessages: 100, shelf: shelf{bySeq: map[uint64]*message{}}, pulls: pulls{open: map[string]amount{}}}
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
	in.shelf.add(&message{seq: 1, size: 400})
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
			Partitions: 1, Inputs: []config.Input{{Stream: "IN", Durable: "d"}},
			Outputs: map[string]config.Output{"dead-letter": {Stream: "D", Subject: "d", Format: config.FormatRaw}},
		}
	}
	for name, c := range map[string]struct {
		change func(*config.StageConfig)
		want   string
	}{
		"inputs":      {func(c *config.StageConfig) { c.Inputs = nil }, "inputs is empty"},
		"partitions":  {func(c *config.StageConfig) { c.Partitions = 0 }, "partitions is 0"},
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

func TestRedeliveryOfAMessageInHand(t *testing.T) {
	e := &Engine{now: time.Now, metrics: NewMetrics(prometheus.NewRegistry()).bind("p", "s")}
	in := &input{e: e, budget: 1000, maxMessages: 100, shelf: shelf{bySeq: map[uint64]*message{}}, pulls: pulls{open: map[string]amount{}}}
	delivery := func(reply string, n uint64) (*message, bool) {
		meta := &nats.MsgMetadata{Sequence: nats.SequencePair{Stream: 7}, NumDelivered: n, Timestamp: time.Unix(1, 0)}
		return in.admit(&nats.Msg{Subject: "in.x", Reply: reply, Data: []byte("x")}, meta)
	}
	m, fresh := delivery("first", 1)
	if !fresh {
		t.Fatal("a new message was not taken")
	}
	if _, again := delivery("second", 2); again {
		t.Error("a message in hand was taken a second time")
	}
	if in.shelf.len() != 1 || in.shelf.bytes != m.size {
		t.Errorf("%d messages, %d bytes in hand, want one of %d", in.shelf.len(), in.shelf.bytes, m.size)
	}
	if reply, ok := in.take(m, func() {}); !ok || reply != "second" {
		t.Errorf("the answer goes to %q, %v, want the newest delivery", reply, ok)
	}
	if _, ok := in.take(m, func() {}); ok {
		t.Error("a message was answered twice")
	}
}

func TestRecentIsForgotten(t *testing.T) {
	var r recent
	start := time.Unix(1000, 0).UnixNano()
	r.add(1, start)
	for name, c := range map[string]struct {
		seq   uint64
		after time.Duration
		want  bool
	}{
		"at once":          {1, 0, true},
		"another":          {2, 0, false},
		"after half":       {1, recentAge / 2, true},
		"after more":       {1, recentAge + recentAge/2, true},
		"after everything": {1, 2*recentAge + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := recent{now: maps.Clone(r.now), since: r.since}
			if got := r.has(c.seq, start+int64(c.after)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	for seq := range uint64(10 * recentSize) {
		r.add(seq, start)
	}
	if n := len(r.now) + len(r.before); n > 2*recentSize {
		t.Errorf("%d are remembered, want %d at most", n, 2*recentSize)
	}
}
