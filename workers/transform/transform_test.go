package transform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func made(t testing.TB, c config.Transform) stage.Stage {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{Kind: config.KindTransform, Transform: &c}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keyFile(t testing.TB, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func text(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func number(key string, value int64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: value}}
}

// came is the event that the cases change.
func came() *eventv1.Event {
	return &eventv1.Event{
		Id: "1", Source: "/app", Type: "app.log", Subject: "user/42", Count: 1, Body: "card 4111111111111111 of ann@example.com", SeverityNumber: 9, SeverityText: "INFO",
		Attributes: []*eventv1.KeyValue{text("password", "secret"), text("mail", "ann@example.com"), number("code", 503)},
		Resource:   []*eventv1.KeyValue{text("cloud.region", "eu-1")},
	}
}

func TestProcess(t *testing.T) {
	key := keyFile(t, "0123456789abcdef\n")
	steps := func(s ...config.TransformStep) config.Transform { return config.Transform{Steps: s} }
	for name, tc := range map[string]struct {
		config config.Transform
		want   func(*eventv1.Event) // what is changed; nil = it ends
		err    string
	}{
		"filter, true":  {steps(config.TransformStep{Filter: "event.severity == 9"}), func(*eventv1.Event) {}, ""},
		"filter, false": {steps(config.TransformStep{Filter: "event.body == ''"}), nil, ""},
		"set": {steps(
			config.TransformStep{Set: &config.TransformSet{Field: "type", Expression: "'app.' + event.resource['cloud.region']"}},
			config.TransformStep{Set: &config.TransformSet{Field: "severity", Expression: "event.attributes['code'] >= 500 ? 17 : 9"}},
			config.TransformStep{Set: &config.TransformSet{Field: "attributes.ok", Expression: "event.severity < 17"}}, // sees what the step before made
			config.TransformStep{Set: &config.TransformSet{Field: "resource.cloud.region", Expression: "'eu'"}},
			config.TransformStep{Set: &config.TransformSet{Field: "attributes.password", Expression: "null"}},
		), func(e *eventv1.Event) {
			e.Type, e.SeverityNumber, e.SeverityText = "app.eu-1", 17, "ERROR"
			e.Attributes = append(e.Attributes[1:], &eventv1.KeyValue{Key: "ok", Value: &eventv1.KeyValue_BoolValue{}})
			e.Resource[0] = text("cloud.region", "eu")
		}, ""},
		"the key stays when the subject goes": {
			steps(config.TransformStep{Set: &config.TransformSet{Field: "subject", Expression: "'someone'"}}),
			func(e *eventv1.Event) { e.Subject, e.PartitionKey = "someone", "user/42" }, "",
		},
		"a new key": {config.Transform{Key: "event.resource['cloud.region']"}, func(e *eventv1.Event) { e.PartitionKey = "eu-1" }, ""},
		"only when": {steps(config.TransformStep{When: "event.severity > 9", Remove: []string{"body"}}), func(*eventv1.Event) {}, ""},
		"remove": {
			steps(config.TransformStep{Remove: []string{"attributes.password", "attributes.none", "body"}}),
			func(e *eventv1.Event) { e.Attributes, e.Body = e.Attributes[1:], "" }, "",
		},
		"rename": {
			steps(config.TransformStep{Rename: &config.TransformRename{From: "attributes.code", To: "extensions.status"}}, config.TransformStep{Rename: &config.TransformRename{From: "attributes.none", To: "attributes.mail"}}),
			func(e *eventv1.Event) {
				e.Attributes, e.Extensions = e.Attributes[:2], []*eventv1.KeyValue{number("status", 503)}
			}, "",
		},
		"mask": {
			steps(config.TransformStep{Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Mask", Pattern: `\b\d{13,16}\b`}},
				config.TransformStep{Redact: &config.TransformRedact{Fields: []string{"attributes.password", "attributes.none"}, Method: "Mask"}}),
			func(e *eventv1.Event) {
				e.Body = "card *** of ann@example.com"
				e.Attributes = append(e.Attributes[1:], text("password", "***"))
			}, "",
		},
		// printf %s ann@example.com | openssl dgst -sha256 -hmac 0123456789abcdef
		"hash": {
			steps(config.TransformStep{Redact: &config.TransformRedact{Fields: []string{"attributes.mail", "body"}, Method: "Hash", Pattern: `\S+@\S+`, KeyFile: key}}),
			func(e *eventv1.Event) {
				e.Body = "card 4111111111111111 of HASH"
				e.Attributes = append([]*eventv1.KeyValue{e.Attributes[0], e.Attributes[2]}, text("mail", "HASH"))
			}, "",
		},
		"a key that is missing": {
			steps(config.TransformStep{Remove: []string{"body"}}, config.TransformStep{Set: &config.TransformSet{Field: "attributes.a", Expression: "event.attributes['none']"}}),
			nil, "transform_error: transform.steps[1].set attributes.a: expression event.attributes['none']: no such key: none",
		},
		"a severity that is none": {
			steps(config.TransformStep{Set: &config.TransformSet{Field: "severity", Expression: "25"}}), nil,
			"transform_error: transform.steps[0].set severity: expression 25: yields 25, a severity is 1 to 24",
		},
		"no key at all": {config.Transform{Key: "event.partitionKey"}, nil, "transform_error: transform.key: yields an empty text: an event has a key"},
		"a filter that fails": {
			steps(config.TransformStep{Filter: "event.attributes['none'] == 1"}), nil,
			"transform_error: transform.steps[0].filter: no such key: none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := stagetest.Batch(t, came())
			if err := made(t, tc.config).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			d := b.Decision(0)
			if tc.err != "" {
				if d.Verdict != stage.DeadLetter || d.Reason+": "+d.Err.Error() != tc.err {
					t.Fatalf("got %s %s: %v, want %s", d.Verdict, d.Reason, d.Err, tc.err)
				}
				return
			}
			if tc.want == nil {
				if d.Verdict != stage.Filter {
					t.Fatalf("got %s, want filtered", d.Verdict)
				}
				return
			}
			want := came()
			tc.want(want)
			got, err := b.Events[0].ToProto()
			if err != nil || d.Verdict != stage.Emit {
				t.Fatal(d, err)
			}
			const hash = "9f70eb4f1d9f0194d58bc08c41ce2b3b"
			if name == "hash" {
				want.Body = strings.ReplaceAll(want.Body, "HASH", hash)
				want.Attributes[2] = text("mail", hash)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if encoded := string(b.Events[0].AppendProto(nil)); strings.Contains(name, "mask") && strings.Contains(encoded, "4111111111111111") {
				t.Error("what was masked is still in the event")
			}
		})
	}
}

// TestSplit: each element becomes an event with an id that follows from the one that came.
func TestSplit(t *testing.T) {
	list := func(list, into string) config.Transform {
		return config.Transform{Steps: []config.TransformStep{{Split: &config.TransformSplit{List: list, Into: into}}}}
	}
	piece := func(n int, change func(*eventv1.Event)) *eventv1.Event {
		e := came()
		e.Id = fmt.Sprint("1/", n)
		change(e)
		return e
	}
	for name, tc := range map[string]struct {
		config config.Transform
		want   []*eventv1.Event
	}{
		"texts": {list("event.body.split(' of ')", "body"), []*eventv1.Event{
			piece(0, func(e *eventv1.Event) { e.Body = "card 4111111111111111" }), piece(1, func(e *eventv1.Event) { e.Body = "ann@example.com" }),
		}},
		"numbers": {list("[event.attributes['code'], 200]", "attributes.code"), []*eventv1.Event{
			piece(0, func(*eventv1.Event) {}), piece(1, func(e *eventv1.Event) { e.Attributes[2] = number("code", 200) }),
		}},
		"maps": {list("[{'user': 'ann', 'n': 1}]", "body"), []*eventv1.Event{
			piece(0, func(e *eventv1.Event) { e.Attributes = append(e.Attributes, number("n", 1), text("user", "ann")) }),
		}},
		"none": {list("[]", "body"), nil},
		"with a new key": {config.Transform{Key: "event.body", Steps: []config.TransformStep{{Split: &config.TransformSplit{List: "['a']", Into: "body"}}}}, []*eventv1.Event{
			piece(0, func(e *eventv1.Event) { e.Body, e.PartitionKey = "a", "a" }),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := stagetest.Batch(t, came())
			if err := made(t, tc.config).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if d := b.Decision(0); d.Verdict != stage.Filter {
				t.Errorf("the event that came: %s: %v", d.Verdict, d.Err)
			}
			var got []*eventv1.Event
			for _, p := range b.Produced() {
				if p.Parent != 0 || p.Port != stage.Out {
					t.Errorf("a piece has parent %d and leaves on %s", p.Parent, p.Port)
				}
				got = append(got, p.Event)
			}
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	for name, tc := range map[string]struct{ list, want string }{
		"too many":       {"event.body.split('')", "too_many_pieces: transform.steps[0].split: the list has 2000 elements, at most 1000: too many pieces"},
		"a list in it":   {"['a', ['b']]", "transform_error: transform.steps[0].split: element 1: is []interface {}: an element is a scalar, or a map of scalars"},
		"a missing list": {"event.attributes['list']", "transform_error: transform.steps[0].split: expression event.attributes['list']: no such key: list"},
	} {
		t.Run(name, func(t *testing.T) {
			e := came()
			e.Body = strings.Repeat("x", 2000)
			b := stagetest.Batch(t, e)
			if err := made(t, list(tc.list, "body")).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if d := b.Decision(0); d.Verdict != stage.DeadLetter || d.Reason+": "+d.Err.Error() != tc.want || len(b.Produced()) > 0 {
				t.Errorf("got %s %s: %v with %d pieces, want %s", d.Verdict, d.Reason, d.Err, len(b.Produced()), tc.want)
			}
		})
	}
}

// TestPiecesAreBounded: the pieces of one event together, whatever its list is.
func TestPiecesAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		remove []string
		want   stage.Verdict
	}{"each has all of the body": {nil, stage.DeadLetter}, "without the body": {[]string{"body"}, stage.Filter}} {
		c := config.Transform{Steps: []config.TransformStep{{Split: &config.TransformSplit{List: "event.attributes['mail'].split('')", Into: "attributes.c"}}}}
		if tc.remove != nil {
			c.Steps = append([]config.TransformStep{{Remove: tc.remove}}, c.Steps...)
		}
		e := came()
		e.Body = strings.Repeat("x", 300_000)
		b := stagetest.Batch(t, e)
		if err := made(t, c).Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if d := b.Decision(0); d.Verdict != tc.want || d.Verdict == stage.DeadLetter && (d.Reason != "too_many_pieces" || len(b.Produced()) > 0) {
			t.Errorf("%s: got %s %s: %v", name, d.Verdict, d.Reason, d.Err)
		}
	}
}

// TestNoOldKey: with a new key, nothing of the old one stays in the event.
func TestNoOldKey(t *testing.T) {
	e := came()
	e.PartitionKey = "old-key"
	b := stagetest.Batch(t, e, came())
	c := config.Transform{Key: "'new'", Steps: []config.TransformStep{{Remove: []string{"subject"}}}}
	if err := made(t, c).Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i := range b.Events {
		if text := string(b.Events[i].AppendProto(nil)); strings.Contains(text, "old-key") || strings.Contains(text, "user/42") || b.Events[i].Key() != "new" {
			t.Errorf("event %d has the key %q, and is %q", i, b.Events[i].Key(), text)
		}
	}
}

func TestRefused(t *testing.T) {
	short := keyFile(t, "short")
	set := func(field, expression string) config.TransformStep {
		return config.TransformStep{Set: &config.TransformSet{Field: field, Expression: expression}}
	}
	for want, step := range map[string]config.TransformStep{
		"transform.steps[0]: has 0 of filter, set":                  {},
		"transform.steps[0]: has 2 of filter, set":                  {Filter: "true", Remove: []string{"body"}},
		"transform.steps[0].when: ":                                 {When: "event.id", Remove: []string{"body"}},
		"transform.steps[0].filter: ":                               {Filter: "event.id ="},
		`transform.steps[0].set: field "id" is none`:                set("id", "'a'"),
		`transform.steps[0].set: field "attributes." is none`:       set("attributes.", "'a'"),
		"transform.steps[0].set: expression 17: yields int":         set("body", "17"),
		`transform.steps[0].remove[0]: field "type" is none`:        {Remove: []string{"type"}},
		`transform.steps[0].rename.to: field "body" is no`:          {Rename: &config.TransformRename{From: "attributes.a", To: "body"}},
		`transform.steps[0].redact.fields[0]: field "id" is none`:   {Redact: &config.TransformRedact{Fields: []string{"id"}, Method: "Mask"}},
		`transform.steps[0].redact.method: is "Hide", must be Hash`: {Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Hide"}},
		"transform.steps[0].redact.pattern: ":                       {Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Mask", Pattern: "("}},
		"transform.steps[0].redact.keyFile: " + short + " holds a":  {Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Hash", KeyFile: short}},
		"transform.steps[0].redact.keyFile: open ":                  {Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Hash", KeyFile: short + ".none"}},
		"transform.steps[0].split.into: field \"type\" must":        {Split: &config.TransformSplit{List: "[]", Into: "type"}},
		"transform.steps[0].split.list: ":                           {Split: &config.TransformSplit{List: "'a'", Into: "body"}},
	} {
		c := &config.Transform{Steps: []config.TransformStep{step}}
		if _, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{Transform: c}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	early := &config.Transform{Steps: []config.TransformStep{{Split: &config.TransformSplit{List: "[]", Into: "body"}}, {Filter: "true"}}}
	if _, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{Transform: early}}); err == nil || err.Error() != "transform.steps[0].split: must be the last step" {
		t.Errorf("got %v", err)
	}
}

func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Transform: everything(t)}})
}

func everything(t testing.TB) *config.Transform {
	return &config.Transform{Key: "event.id + 'k'", Steps: []config.TransformStep{
		{Filter: "event.type != 'metric'"},
		{When: "event.severity >= 13", Set: &config.TransformSet{Field: "attributes.loud", Expression: "true"}},
		{Set: &config.TransformSet{Field: "body", Expression: "event.body + '!'"}},
		{Remove: []string{"attributes.a", "resource.host.name"}},
		{Rename: &config.TransformRename{From: "resource.service.name", To: "attributes.service"}},
		{Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Hash", Pattern: `[0-9]+`, KeyFile: keyFile(t, "0123456789abcdef")}},
		{When: "event.type.startsWith('k8s.')", Split: &config.TransformSplit{List: "event.body.size() < 20000 ? event.body.split(' ', 3) : []", Into: "attributes.word"}},
	}}
}

// BenchmarkProcess: one operation is one event, decoded already. What is set is the difference to a stage that does nothing.
func BenchmarkProcess(b *testing.B) {
	for name, steps := range map[string][]config.TransformStep{
		"nothing":       {{Filter: "event.severity > 0"}},
		"set a literal": {{Set: &config.TransformSet{Field: "attributes.team", Expression: "'shop'"}}},
		"derive":        {{Set: &config.TransformSet{Field: "attributes.where", Expression: "event.entity.namespace + '/' + event.entity.name"}}},
		"remove":        {{Remove: []string{"attributes.password"}}},
		"split in two":  {{Split: &config.TransformSplit{List: "['a', 'b']", Into: "body"}}},
		"mask":          {{Redact: &config.TransformRedact{Fields: []string{"body"}, Method: "Mask", Pattern: `\b\d{13,16}\b`}}},
		"hash":          {{Redact: &config.TransformRedact{Fields: []string{"attributes.mail"}, Method: "Hash", KeyFile: keyFile(b, "0123456789abcdef")}}},
	} {
		b.Run(name, func(b *testing.B) {
			s := made(b, config.Transform{Steps: steps})
			const size = 500
			var events []*eventv1.Event
			for range size {
				events = append(events, proto.CloneOf(came()))
			}
			fresh := stagetest.Batch(b, events...)
			work := &stage.Batch{}
			b.ReportAllocs()
			for n := 0; n < b.N; n += size {
				work.Events = append(work.Events[:0], fresh.Events...)
				work.Reset(1)
				if err := s.Process(b.Context(), work); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
