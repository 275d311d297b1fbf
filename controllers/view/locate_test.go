package view

import (
	"fmt"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// TestSearchGoesOnBehindWhatLooksLikeIt: messages that quote the id, or that may have it written in another way, end no search.
func TestSearchGoesOnBehindWhatLooksLikeIt(t *testing.T) {
	server := harness.StartNATS(t, natsserver.Options{})
	js := harness.JetStream(t, server)
	if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		body := fmt.Sprintf(`{"id":"e%d","source":"/s","type":"t","body":"\\u003ccaused by e5\\u003e"}`, n)
		if _, err := js.Publish(t.Context(), "raw.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	pool := NewPool("millrace-test")
	defer pool.Close()
	c, err := pool.Client(jetstream.Server{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	l := &Layout{Ingress: PortLayout{Port: PortIngress, Stream: "RAW", Subject: ">", Base: "raw"}}
	w := &search{
		tracer: &tracer{layout: l, options: TraceOptions{ID: "e5"}}, stream: store.Stream{Client: c, Name: "RAW"},
		needle: newNeedle("e5"), low: 1, high: 100, size: 4,
	}
	found, err := w.run(t.Context())
	if err != nil || len(found) != 1 || found[0].Sequence != 6 {
		t.Errorf("%d found, %v, want message 6", len(found), err)
	}
}

// TestMayHold: no way to write an id hides it from the look that comes before decoding.
func TestMayHold(t *testing.T) {
	frameOf := func(id string) []byte {
		e, err := event.FromProto(&eventv1.Event{Id: id, Source: "/s", Type: "t", Body: strings.Repeat("the same text ", 100)}, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		var w frame.Writer
		w.Begin(frame.Header{})
		w.Add(&e)
		return w.AppendTo(nil)
	}
	declared := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	for name, c := range map[string]struct {
		id     string
		header map[string][]string
		data   []byte
		want   bool
	}{
		"JSON":                      {"o1", nil, []byte(`{"id":"o1"}`), true},
		"another one":               {"o1", nil, []byte(`{"id":"o2"}`), false},
		"escaped":                   {"o1", nil, []byte(`{"id":"\u006f1"}`), true},
		"a slash":                   {"a/1", nil, []byte(`{"id":"a\/1"}`), true},
		"behind a byte-order mark":  {"a/1", nil, []byte("\ufeff {\"id\":\"a\\/1\"}"), true},
		"quotes":                    {`a"1`, nil, []byte(`{"id":"a\"1"}`), true},
		"a header":                  {"o1", declared("ce-id", "o1"), []byte("x"), true},
		"a header in capitals":      {"o1", declared("Ce-Id", "o1"), []byte("x"), true},
		"a header with percents":    {"o 1", declared("ce-id", "o%201"), []byte("x"), true},
		"another header":            {"o1", declared("ce-id", "o2"), []byte("x"), false},
		"a frame":                   {"o1", declared("Content-Type", event.ContentTypeFrame), frameOf("o1"), true},
		"a frame with parameters":   {"o1", declared("Content-Type", strings.ToUpper(event.ContentTypeFrame)+"; v=1"), frameOf("o1"), true},
		"a frame that says nothing": {"o1", nil, frameOf("o1"), true},
		"a frame of another one":    {"o1", declared("Content-Type", event.ContentTypeFrame), frameOf("o2"), false},
		"no frame":                  {"o1", declared("Content-Type", event.ContentTypeFrame), []byte("o1"), false},
		"nothing":                   {"o1", nil, nil, false},
	} {
		w := &searcher{search: &search{tracer: &tracer{options: TraceOptions{ID: c.id}}, needle: newNeedle(c.id)}}
		if got := w.mayHold(&store.Message{Header: c.header, Data: c.data}); got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
}
