package engine

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

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
