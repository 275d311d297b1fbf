package validate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStage(t testing.TB, c config.Validate) stage.Stage {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{
		Config: &config.StageConfig{Kind: config.KindValidate, Validate: &c}, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batch(t testing.TB, events ...*eventv1.Event) *stage.Batch {
	t.Helper()
	b := stagetest.Batch(t, events...)
	b.Now = noon
	return b
}

func at(d time.Duration) uint64 { return uint64(noon.Add(d).UnixNano()) }

func TestProcess(t *testing.T) {
	rules := func(expression string) config.Validate {
		return config.Validate{Rules: []config.Rule{{Expression: expression, Message: "not good"}}}
	}
	attribute := []*eventv1.KeyValue{{Key: "code", Value: &eventv1.KeyValue_IntValue{IntValue: 503}}}
	for name, tc := range map[string]struct {
		config  config.Validate
		event   *eventv1.Event
		verdict stage.Verdict
		reason  string
		err     string
	}{
		"valid":              {config.Validate{RequiredAttributes: []string{"id", "source"}}, &eventv1.Event{Id: "1", Source: "s"}, stage.Emit, "", ""},
		"missing id":         {config.Validate{RequiredAttributes: []string{"id"}}, &eventv1.Event{Source: "s"}, stage.DeadLetter, "missing_attribute", "attribute id is not set"},
		"missing entity":     {config.Validate{RequiredAttributes: []string{"entity"}}, &eventv1.Event{Id: "1"}, stage.DeadLetter, "missing_attribute", "attribute entity is not set"},
		"too far ahead":      {config.Validate{MaxFuture: config.Duration(time.Minute)}, &eventv1.Event{TimeUnixNano: at(2 * time.Minute)}, stage.DeadLetter, "clock_skew", "time is 2m0s ahead of the clock, at most 1m0s are allowed"},
		"ahead within bound": {config.Validate{MaxFuture: config.Duration(time.Minute)}, &eventv1.Event{TimeUnixNano: at(time.Minute)}, stage.Emit, "", ""},
		"too old":            {config.Validate{MaxAge: config.Duration(time.Hour)}, &eventv1.Event{TimeUnixNano: at(-2 * time.Hour)}, stage.DeadLetter, "clock_skew", "time is 2h0m0s old, at most 1h0m0s are allowed"},
		"no time":            {config.Validate{MaxAge: 1, MaxFuture: 1}, &eventv1.Event{}, stage.Emit, "", ""},
		"rule holds":         {rules("event.type.startsWith('k8s.') && event.severity > 8"), &eventv1.Event{Type: "k8s.event", SeverityNumber: 9}, stage.Emit, "", ""},
		"rule fails":         {rules("event.id != ''"), &eventv1.Event{}, stage.DeadLetter, "rule_failed", "not good (rule 0: event.id != '')"},
		"attribute":          {rules("event.attributes['code'] == 503"), &eventv1.Event{Attributes: attribute}, stage.Emit, "", ""},
		"missing key":        {rules("event.attributes['code'] == 503"), &eventv1.Event{}, stage.DeadLetter, "rule_error", "no such key: code"},
		"optional key":       {rules("event.attributes[?'code'].orValue(0) == 0"), &eventv1.Event{}, stage.Emit, "", ""},
		"entity":             {rules("event.entity.kind == 'Pod'"), &eventv1.Event{Entity: &eventv1.EntityRef{Kind: "Pod"}}, stage.Emit, "", ""},
		"has no entity":      {rules("has(event.entity)"), &eventv1.Event{}, stage.DeadLetter, "rule_failed", "not good"},
		"metric":             {rules("event.metric.value > 1 && event.metric.name == 'm'"), &eventv1.Event{Signal: &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m", Value: 2}}}, stage.Emit, "", ""},
		"has no metric":      {rules("!has(event.metric)"), &eventv1.Event{}, stage.Emit, "", ""},
		"semantic":           {rules("event.semantic.class == 'oom-kill'"), &eventv1.Event{Semantic: &eventv1.Semantic{Class: "oom-kill"}}, stage.Emit, "", ""},
		"reason":             {rules("event.reason == 'BackOff'"), &eventv1.Event{Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: "BackOff"}}}, stage.Emit, "", ""},
		"time":               {rules("event.time > timestamp('2026-01-01T00:00:00Z')"), &eventv1.Event{TimeUnixNano: at(0)}, stage.Emit, "", ""},
		"trace id":           {rules("event.traceId == '000102030405060708090a0b0c0d0e0f'"), &eventv1.Event{TraceId: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}, stage.Emit, "", ""},
		"resource":           {rules("event.resource['k8s.pod.name'] == 'p'"), &eventv1.Event{Resource: []*eventv1.KeyValue{{Key: "k8s.pod.name", Value: &eventv1.KeyValue_StringValue{StringValue: "p"}}}}, stage.Emit, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := batch(t, tc.event)
			if err := newStage(t, tc.config).Process(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			d := b.Decision(0)
			if d.Verdict != tc.verdict || d.Reason != tc.reason {
				t.Fatalf("got %v %q %v, want %v %q", d.Verdict, d.Reason, d.Err, tc.verdict, tc.reason)
			}
			if tc.err != "" && (d.Err == nil || !strings.Contains(d.Err.Error(), tc.err)) {
				t.Errorf("error is %v, want it to say %q", d.Err, tc.err)
			}
		})
	}
}

func TestDedupe(t *testing.T) {
	now := noon
	s := newStage(t, config.Validate{Dedupe: &config.Dedupe{Window: config.Duration(time.Minute), MaxEntries: 3}})
	see := func(id string) stage.Verdict {
		b := batch(t, &eventv1.Event{Id: id, Source: "s"})
		b.Now = now
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return b.Decision(0).Verdict
	}
	for i, step := range []struct {
		after time.Duration
		id    string
		want  stage.Verdict
	}{
		{0, "a", stage.Emit},
		{0, "a", stage.Duplicate},
		{59 * time.Second, "a", stage.Duplicate},          // just inside the window
		{time.Minute, "a", stage.Duplicate},               // a duplicate is seen too: the window begins with it
		{time.Minute + time.Millisecond, "a", stage.Emit}, // the window is over
		{0, "b", stage.Emit},
		{0, "c", stage.Emit},
		{0, "b", stage.Duplicate},
		{0, "d", stage.Emit}, // a is forgotten for lack of room
		{0, "a", stage.Emit}, // c is
		{0, "b", stage.Duplicate},
		{0, "c", stage.Emit},
	} {
		now = now.Add(step.after)
		if got := see(step.id); got != step.want {
			t.Errorf("step %d (%s): %v, want %v", i, step.id, got, step.want)
		}
	}
}

func TestInvalidEventClaimsNoID(t *testing.T) {
	s := newStage(t, config.Validate{RequiredAttributes: []string{"type"}, Dedupe: &config.Dedupe{}})
	b := batch(t, &eventv1.Event{Id: "1"}, &eventv1.Event{Id: "1", Type: "t"})
	if err := s.Process(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if b.Decision(0).Verdict != stage.DeadLetter || b.Decision(1).Verdict != stage.Emit {
		t.Errorf("got %v, %v", b.Decision(0), b.Decision(1))
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		config config.Validate
		want   string
	}{
		"attribute":  {config.Validate{RequiredAttributes: []string{"id", "nope"}}, `validate.requiredAttributes[1]: "nope" is no attribute that can be required`},
		"future":     {config.Validate{MaxFuture: -1}, "validate.maxFuture: is -1ns, must not be negative"},
		"age":        {config.Validate{MaxAge: -1}, "validate.maxAge: is -1ns, must not be negative"},
		"window":     {config.Validate{Dedupe: &config.Dedupe{Window: -1}}, "validate.dedupe.window: is -1ns, must be between"},
		"entries":    {config.Validate{Dedupe: &config.Dedupe{MaxEntries: -1}}, "validate.dedupe.maxEntries: is -1, must be between"},
		"expression": {config.Validate{Rules: []config.Rule{{Expression: "event.nope"}}}, "validate.rules[0].expression: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{Validate: &tc.config}})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestRulesGoThroughMapsInOrder: what a rule says of an event does not depend on chance.
func TestRulesGoThroughMapsInOrder(t *testing.T) {
	e := &eventv1.Event{Id: "1"}
	for _, key := range []string{"d", "b", "e", "a", "c"} {
		e.Attributes = append(e.Attributes, &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: key}})
	}
	for name, rule := range map[string]string{
		"keys":   "event.attributes.map(k, k) == ['a', 'b', 'c', 'd', 'e']",
		"filter": "event.attributes.filter(k, k > 'b')[0] == 'c'",
		"values": "event.attributes.all(k, event.attributes[k] == k)",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Validate{Rules: []config.Rule{{Expression: rule}}})
			for range 20 {
				b := batch(t, e)
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if d := b.Decision(0); d.Verdict != stage.Emit {
					t.Fatalf("%s: %v", rule, d.Err)
				}
			}
		})
	}
}

func TestWhatIsNoDuplicate(t *testing.T) {
	for name, pair := range map[string][2]*eventv1.Event{
		"no id":                      {{Source: "s"}, {Source: "s"}},
		"other source":               {{Id: "1", Source: "a"}, {Id: "1", Source: "b"}},
		"bytes moved into the id":    {{Id: "b1", Source: "a"}, {Id: "1", Source: "ab"}},
		"a zero byte in either part": {{Id: "c", Source: "a\x00b"}, {Id: "b\x00c", Source: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := batch(t, pair[0], pair[1])
			if err := newStage(t, config.Validate{Dedupe: &config.Dedupe{}}).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if b.Decision(0).Verdict != stage.Emit || b.Decision(1).Verdict != stage.Emit {
				t.Errorf("got %v, %v, want both emitted", b.Decision(0).Verdict, b.Decision(1).Verdict)
			}
		})
	}
}

// sight is an event as a stage with dedupe sees it.
type sight struct {
	input int
	at    time.Duration // stream time, after noon
	id    string
	want  stage.Verdict
}

func TestSetClocks(t *testing.T) {
	const minute = time.Minute
	for name, sights := range map[string][]sight{
		"an id stays remembered when the clock is set back": {
			{0, 0, "a", stage.Emit}, {0, -time.Hour, "a", stage.Duplicate},
		},
		"a step of a server's clock changes nothing": {
			{0, 0, "a", stage.Emit},
			{0, 10 * time.Second, "b", stage.Emit},
			{0, 10*time.Second - 5*time.Millisecond, "b", stage.Duplicate},
			{0, 7 * time.Second, "c", stage.Emit},
			{0, 8 * time.Second, "b", stage.Duplicate},
			{0, 58 * time.Second, "a", stage.Duplicate},
			{0, 66 * time.Second, "c", stage.Duplicate},
		},
		"one message that was stored an hour ahead": {
			{0, time.Hour, "x", stage.Emit},
			{0, time.Second, "a", stage.Emit},
			{0, 2 * time.Second, "a", stage.Duplicate},
			{0, 30 * minute, "a", stage.Emit},
			{0, 31 * minute, "x", stage.Emit},
		},
		"ids that were seen while the clock was ahead": {
			{0, time.Hour, "a", stage.Emit},
			{0, time.Hour + 10*minute, "b", stage.Emit},
			{0, 10 * minute, "b", stage.Duplicate},
			{0, 10*minute + 59*time.Second, "b", stage.Duplicate},
			{0, 10*minute + 59*time.Second, "a", stage.Emit},
			{0, 12 * minute, "b", stage.Emit},
		},
		"an input that lags is no clock that was set": {
			{0, time.Hour, "a", stage.Emit},
			{1, 0, "b", stage.Emit},
			{0, time.Hour + time.Second, "b", stage.Duplicate},
			{1, time.Second, "a", stage.Duplicate},
			{1, 30 * minute, "b", stage.Duplicate},
		},
		"an idle time of 2^32 ms": {
			{0, 0, "a", stage.Emit}, {0, 1<<32*time.Millisecond + minute, "a", stage.Emit},
		},
		"an idle time of 2^32 ms and the window": {
			{0, 0, "a", stage.Emit}, {0, minute, "b", stage.Emit}, {0, 1<<32*time.Millisecond + minute, "a", stage.Emit},
		},
		"a year ahead": {
			{0, 365 * 24 * time.Hour, "a", stage.Emit}, {0, 0, "a", stage.Duplicate}, {0, minute + time.Second, "a", stage.Emit},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Validate{Dedupe: &config.Dedupe{Window: config.Duration(minute)}})
			for i, see := range sights {
				b := batch(t, &eventv1.Event{Id: see.id, Source: "s"})
				b.Now, b.Events[0].Origin.Input = noon.Add(see.at), see.input
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if got := b.Decision(0).Verdict; got != see.want {
					t.Errorf("event %d (%s): %v, want %v", i, see.id, got, see.want)
				}
			}
		})
	}
}

func BenchmarkProcess(b *testing.B) {
	events := make([]*eventv1.Event, 512)
	for i := range events {
		events[i] = &eventv1.Event{Id: fmt.Sprint("id-", i), Source: "/bench", Type: "app.log", SeverityNumber: 9, TimeUnixNano: at(0)}
	}
	for name, tc := range map[string]struct {
		config config.Validate
		every  time.Duration // of stream time, a batch
	}{
		"required":           {config.Validate{RequiredAttributes: []string{"id", "source", "type"}, MaxFuture: config.Duration(time.Hour)}, 0},
		"rule":               {config.Validate{Rules: []config.Rule{{Expression: "event.id != ''"}}}, 0},
		"rule left to CEL":   {config.Validate{Rules: []config.Rule{{Expression: "event.id.size() > 1"}}}, 0},
		"dedupe, duplicates": {config.Validate{Dedupe: &config.Dedupe{}}, 0},
		"dedupe, new ids":    {config.Validate{Dedupe: &config.Dedupe{}}, defaultWindow + time.Second},
	} {
		b.Run(name, func(b *testing.B) {
			s, in := newStage(b, tc.config), batch(b, events...)
			b.ReportAllocs()
			for b.Loop() {
				in.Now = in.Now.Add(tc.every)
				in.Reset(1)
				if err := s.Process(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
		})
	}
}
