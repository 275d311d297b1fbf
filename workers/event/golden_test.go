package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protojson"

	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// TestGolden decodes a message of every form and compares what became of it: the events
// as protobuf and as structured CloudEvents, and the failures.
//
// testdata/golden/<case>/ holds message and headers.json; want.json is generated.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(cases) < 12 {
		t.Fatalf("golden cases: %v (%v)", cases, err)
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m := decode.Message{Sequence: 7, Input: 1, Time: 1_767_366_246_000_000_000}
			readJSON(t, filepath.Join(dir, "headers.json"), &m.Header)
			m.Data = read(t, filepath.Join(dir, "message"))
			golden.Check(t, filepath.Join(dir, "want.json"), string(render(t, m)))
		})
	}
}

// TestFrameBytes holds the layout of frames: what was written once is written the same
// today. The compressed form may change with the library, so the bytes below it are compared.
func TestFrameBytes(t *testing.T) {
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Data: read(t, "testdata/golden/frame/events.ndjson")})
	if len(events) != 3 || len(bad) != 0 {
		t.Fatalf("decoded %d events, failures %v; want 3 and none", len(events), bad)
	}
	events[0].AddResource("k8s.node.name", "worker-1")
	var w frame.Writer
	w.Begin(frame.Header{Partition: 5, InputStream: "RAW_EVENTS", InputFirst: 40, InputLast: 42})
	for i := range events {
		w.Add(&events[i])
	}
	block := w.AppendTo(nil)
	const file = "testdata/golden/frame/message"
	if golden.Update() {
		write(t, file, block)
	}
	got, err := s2.Decode(nil, block)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s2.Decode(nil, read(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frame bytes (-want +got):\n%s", diff)
	}
}

type rendered struct {
	Events      []renderedEvent   `json:"events"`
	Undecodable []renderedFailure `json:"undecodable,omitempty"`
}

type renderedEvent struct {
	Form       string          `json:"form"`
	Origin     event.Origin    `json:"origin"`
	Key        string          `json:"key"`
	Proto      json.RawMessage `json:"proto"`
	CloudEvent json.RawMessage `json:"cloudEvent"`
}

type renderedFailure struct {
	Index       int    `json:"index"`
	ContentType string `json:"contentType,omitempty"`
	Raw         string `json:"raw"`
	Error       string `json:"error"`
}

func render(t *testing.T, m decode.Message) []byte {
	t.Helper()
	var r rendered
	events, bad := decode.New(decode.Limits{}).Decode(nil, m)
	for i := range events {
		r.Events = append(r.Events, renderEvent(t, &events[i]))
	}
	for _, u := range bad {
		r.Undecodable = append(r.Undecodable, renderedFailure{u.Index, u.ContentType, string(u.Raw), u.Err.Error()})
	}
	out := &bytes.Buffer{}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func renderEvent(t *testing.T, e *event.Event) renderedEvent {
	t.Helper()
	m, err := e.ToProto()
	if err != nil {
		t.Fatal(err)
	}
	proto, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	structured, err := cloudevent.Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	return renderedEvent{e.Form().String(), e.Origin, e.Key(), proto, structured}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
