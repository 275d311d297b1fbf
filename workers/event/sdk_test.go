package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
)

// sdkEvents are events made by the official SDK. change says what is allowed to differ
// after the way through Millrace.
func sdkEvents(t *testing.T) map[string]cloudevents.Event {
	t.Helper()
	all := map[string]cloudevents.Event{}
	add := func(name string, fill func(*cloudevents.Event) error) {
		e := cloudevents.New()
		e.SetID("id-" + name)
		e.SetSource("https://example.com/source?a=b")
		e.SetType("com.example." + name)
		if err := fill(&e); err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		all[name] = e
	}
	add("bare", func(*cloudevents.Event) error { return nil })
	add("attributes", func(e *cloudevents.Event) error {
		e.SetSubject("orders/17 & more")
		e.SetTime(time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.FixedZone("", 7200)))
		e.SetDataSchema("https://example.com/schema.json")
		return e.SetData("application/json", map[string]any{"order": 17, "text": "ünï \"q\" <html> \u2028"})
	})
	add("extensions", func(e *cloudevents.Event) error {
		e.SetExtension("text", "plain text")
		e.SetExtension("number", 1<<31-1)
		e.SetExtension("negative", -42)
		e.SetExtension("flag", true)
		e.SetExtension("off", false)
		e.SetExtension("bytes", []byte{0, 1, 255})
		e.SetExtension("uri", types.ParseURI("https://example.com/x"))
		e.SetExtension("at", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		return nil
	})
	add("known", func(e *cloudevents.Event) error {
		e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		e.SetExtension("tracestate", "a=b,c=d")
		e.SetExtension("severitynumber", 17)
		e.SetExtension("severitytext", "ERROR")
		e.SetExtension("partitionkey", "key-1")
		e.SetExtension("correlationid", "c-1")
		e.SetExtension("causationid", "e-0")
		e.SetExtension("recordedtime", "2026-01-02T03:04:05+02:00")
		e.SetExtension("sequence", "0001")
		return e.SetData("application/json", []int{1, 2, 3})
	})
	add("text", func(e *cloudevents.Event) error {
		return e.SetData("text/plain; charset=utf-8", "line 1\nline 2 \"quoted\"")
	})
	add("xml", func(e *cloudevents.Event) error { return e.SetData("application/xml", []byte("<a b='c'>d</a>")) })
	add("bytes", func(e *cloudevents.Event) error {
		return e.SetData("application/octet-stream", []byte{0, 1, 2, 254, 255})
	})
	add("suffix", func(e *cloudevents.Event) error {
		return e.SetData("application/vnd.example+json", json.RawMessage(`{"body": "kept as it is"}`))
	})
	add("scalar", func(e *cloudevents.Event) error { return e.SetData("application/json", "just text") })
	return all
}

func TestSDKStructured(t *testing.T) {
	for name, want := range sdkEvents(t) {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			out := appendCloudEvents(t, one(t, decode.Message{
				Header: map[string][]string{"content-type": {"application/cloudevents+json"}}, Data: body,
			}))
			var got cloudevents.Event
			if err := json.Unmarshal(out[0], &got); err != nil {
				t.Fatalf("the SDK cannot read %s: %v", out[0], err)
			}
			compare(t, want, got)
		})
	}
}

func TestSDKBatch(t *testing.T) {
	var batch []cloudevents.Event
	for _, e := range sdkEvents(t) {
		batch = append(batch, e)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{
		Header: map[string][]string{"Content-Type": {"application/cloudevents-batch+json"}}, Data: body,
	})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	out := append(append([]byte("["), bytes.Join(appendCloudEvents(t, events), []byte(","))...), ']')
	var got []cloudevents.Event
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(batch) {
		t.Fatalf("%d events came back of %d", len(got), len(batch))
	}
	for i := range batch {
		compare(t, batch[i], got[i])
	}
}

// TestSDKBinary uses the SDK's HTTP binding, whose headers are those of the NATS binding.
func TestSDKBinary(t *testing.T) {
	for name, want := range sdkEvents(t) {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			ctx := binding.WithForceBinary(t.Context())
			if err := cehttp.WriteRequest(ctx, binding.ToMessage(&want), request); err != nil {
				t.Fatal(err)
			}
			var body bytes.Buffer
			if _, err := body.ReadFrom(request.Body); err != nil {
				t.Fatal(err)
			}
			events := one(t, decode.Message{Header: request.Header, Data: body.Bytes()})
			if form := events[0].Form(); form != event.FormBinary {
				t.Errorf("form %s, want binary", form)
			}
			if diff := cmp.Diff(plainEvent(asText(t, want)), plainText(t, events)); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

// plainText is the one event, with its extensions as text.
func plainText(t *testing.T, events []event.Event) plain {
	t.Helper()
	e := &events[0]
	p := plain{
		ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Schema: e.DataSchema(),
		ContentType: e.DataContentType(), Data: string(e.Data()), Extensions: map[string]any{},
	}
	if e.Time != 0 {
		p.Time = time.Unix(0, e.Time).UTC()
	}
	for name, v := range members(t, appendCloudEvents(t, events)[0]) {
		switch name {
		case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64":
		default:
			p.Extensions[name] = fmt.Sprint(v)
		}
	}
	return p
}

// asText turns extensions into text: binary mode has no other type.
func asText(t *testing.T, e cloudevents.Event) cloudevents.Event {
	t.Helper()
	e = e.Clone()
	for k, v := range e.Extensions() {
		s, err := types.Format(v)
		if err != nil {
			t.Fatal(err)
		}
		e.SetExtension(k, s)
	}
	return e
}

// TestSDKReadsTyped: what Millrace writes about typed members is a valid CloudEvent, and
// comes back as what it was.
func TestSDKReadsTyped(t *testing.T) {
	in := one(t, decode.Message{Data: read(t, "testdata/golden/native/message")})
	out := appendCloudEvents(t, in)[0]
	var sdk cloudevents.Event
	if err := json.Unmarshal(out, &sdk); err != nil {
		t.Fatal(err)
	}
	if err := sdk.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := sdk.DataSchema(); got != cloudevent.DataSchema {
		t.Errorf("dataschema is %q, want %q", got, cloudevent.DataSchema)
	}
	again, err := json.Marshal(sdk)
	if err != nil {
		t.Fatal(err)
	}
	back := appendCloudEvents(t, one(t, decode.Message{Data: again}))[0]
	if diff := cmp.Diff(members(t, out), members(t, back)); diff != "" {
		t.Errorf("after the way through the SDK (-want +got):\n%s", diff)
	}
}

func members(t *testing.T, b []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func compare(t *testing.T, want, got cloudevents.Event) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Errorf("not a valid CloudEvent: %v", err)
	}
	if diff := cmp.Diff(plainEvent(want), plainEvent(got)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

type plain struct {
	ID, Source, Type, Subject, Schema, ContentType, Data string
	Time                                                 time.Time
	Extensions                                           map[string]any
}

func plainEvent(e cloudevents.Event) plain {
	extensions := map[string]any{}
	for k, v := range e.Extensions() {
		switch x := v.(type) {
		case types.URI:
			v = x.String()
		case types.Timestamp:
			v = x.Format(time.RFC3339Nano)
		case []byte: // travels as base64 text, and JSON does not say that it does
			v = types.FormatBinary(x)
		}
		extensions[k] = v
	}
	return plain{
		ID: e.ID(), Source: e.Source(), Type: e.Type(), Subject: e.Subject(), Schema: e.DataSchema(),
		ContentType: e.DataContentType(), Data: string(e.Data()), Time: e.Time().UTC(), Extensions: extensions,
	}
}

func one(t *testing.T, m decode.Message) []event.Event {
	t.Helper()
	events, bad := decode.New(decode.Limits{}).Decode(nil, m)
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	return events
}

func appendCloudEvents(t *testing.T, events []event.Event) (out [][]byte) {
	t.Helper()
	for i := range events {
		b, err := cloudevent.Append(nil, &events[i])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}
