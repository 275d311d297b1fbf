package cel

import (
	"math/rand/v2"
	"strings"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

func newEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// TestNativeShapes: the conditions that people write most are functions, others are left to CEL.
func TestNativeShapes(t *testing.T) {
	env := newEnv(t)
	for expression, want := range map[string]bool{
		"event.id != ''":                                            true,
		"'' != event.id && event.severity >= 9":                     true,
		"event.type.startsWith('k8s.') || !(event.severity < 17)":   true,
		"has(event.entity) && event.entity.kind in ['Pod', 'Node']": true,
		"has(event.metric)":                                         true,
		"!has(event.entity.uid)":                                    true,
		"true":                                                      true,
		"event.id == event.subject":                                 false,
		"event.severity > 8.5":                                      false,
		"event.metric.value > 1.0":                                  false,
		"event.id != '' && event.attributes['code'] == 503":         false,
		"event.attributes.all(k, k != 'x')":                         false,
		"event.time > timestamp('2026-01-01T00:00:00Z')":            false,
		"event.id != '' && event.resource.exists(e, e == 'x')":      false,
		"event.type in ['a', event.id]":                             false,
		"event.type.lowerAscii() == 'a'":                            false,
		"event.id.size() > 1":                                       false,
		"has(event.resource.x)":                                     false,
		"event.resource['a'] == 'b'":                                false,
		"event.severity in [1, 2]":                                  false,
		"event.id != '' ? event.severity > 1 : event.severity == 2": false,
	} {
		c, err := env.Condition(expression)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.native != nil; got != want {
			t.Errorf("%s: native is %t, want %t", expression, got, want)
		}
	}
}

// expressions writes expressions of the native shape.
type expressions struct{ *rand.Rand }

func (r expressions) one(of ...string) string { return of[r.IntN(len(of))] }

func (r expressions) text() string {
	return r.one("event.id", "event.source", "event.type", "event.subject", "event.body", "event.partitionKey", "event.traceId", "event.reason",
		"event.severityText", "event.entity.kind", "event.entity.namespace", "event.entity.name", "event.entity.uid")
}

func (r expressions) word() string {
	return r.one("''", "'a'", "'ab'", "'b'", "'Pod'", "'é'", `'\''`, "'a\\u0000'", "'WARN'", "'000102030405060708090a0b0c0d0e0f'")
}

func (r expressions) number() string {
	return r.one("0", "1", "9", "-1", "17", "9223372036854775807", "-9223372036854775808", "2147483648")
}

func (r expressions) operator() string { return r.one("==", "!=", "<", "<=", ">", ">=") }

func (r expressions) bool(depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "(" + r.bool(depth-1) + " && " + r.bool(depth-1) + ")"
		case 1:
			return "(" + r.bool(depth-1) + " || " + r.bool(depth-1) + ")"
		case 2:
			return "!(" + r.bool(depth-1) + ")"
		}
	}
	switch r.IntN(8) {
	case 0:
		return r.text() + " " + r.operator() + " " + r.word()
	case 1:
		return r.word() + " " + r.operator() + " " + r.text()
	case 2:
		return r.one("event.severity", "event.count") + " " + r.operator() + " " + r.number()
	case 3:
		return r.number() + " " + r.operator() + " " + r.one("event.severity", "event.count")
	case 4:
		return r.text() + "." + r.one("startsWith", "endsWith", "contains") + "(" + r.word() + ")"
	case 5:
		return r.text() + " in [" + r.word() + ", " + r.word() + "]"
	case 6:
		return "has(" + r.one(r.text(), "event.entity", "event.metric", "event.semantic", "event.severity", "event.time", "event.attributes", "event.resource") + ")"
	}
	return r.one("true", "false")
}

func (r expressions) event() *eventv1.Event {
	word := func() string { return r.one("", "", "a", "ab", "b", "Pod", "é", "'", "a\x00") }
	e := &eventv1.Event{
		Id: word(), Source: word(), Type: word(), Subject: word(), Body: word(), PartitionKey: word(), SeverityText: word(),
		SeverityNumber: []int32{0, 0, 1, 9, 17, -1}[r.IntN(6)], Count: []uint32{0, 1, 9, 1 << 31}[r.IntN(4)], TimeUnixNano: r.Uint64N(2),
	}
	if r.IntN(2) == 0 {
		e.Entity = &eventv1.EntityRef{Kind: word(), Namespace: word(), Name: word(), Uid: word()}
	}
	if r.IntN(3) == 0 {
		e.TraceId = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	}
	if r.IntN(3) == 0 {
		e.Attributes = []*eventv1.KeyValue{{Key: "a"}}
	}
	switch r.IntN(3) {
	case 0:
		e.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m"}}
	case 1:
		e.Signal = &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: word()}}
	}
	return e
}

// TestNativeSaysWhatCELSays compares functions with CEL on expressions and events that chance made.
func TestNativeSaysWhatCELSays(t *testing.T) {
	r := expressions{rand.New(rand.NewPCG(21, 22))}
	var events []event.Event
	for range 50 {
		e, err := event.FromProto(r.event(), event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	env, held := newEnv(t), 0
	for range 1000 {
		expression := r.bool(3)
		c, err := env.Condition(expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		if c.native == nil {
			t.Fatalf("%s is left to CEL", expression)
		}
		for i := range events {
			want, err := c.evaluate(&events[i])
			if err != nil {
				t.Fatalf("%s: %v", expression, err)
			}
			if got := c.native(&events[i]); got != want {
				t.Fatalf("%s is %t for %+v, CEL says %t", expression, got, events[i], want)
			}
			if want {
				held++
			}
		}
	}
	if share := float64(held) / 50_000; share < 0.2 || share > 0.8 {
		t.Errorf("%.2f of the conditions hold: the comparison shows little", share)
	}
}

// FuzzNative compares what is a function with CEL, for any expression.
func FuzzNative(f *testing.F) {
	env := newEnv(f)
	for _, expression := range []string{
		"event.id != ''", "'a' < event.type || event.severity == -1", "has(event.entity) && event.entity.name in ['a']",
		"!event.body.contains('x')", "event.reason.endsWith('Off')", "[1].exists(event, event == 1) && event.id == 'a'", "has(event.time)",
	} {
		f.Add(expression, "a", "Pod", int32(9))
	}
	f.Fuzz(func(t *testing.T, expression, text, kind string, severity int32) {
		c, err := env.Condition(expression)
		if err != nil || c.native == nil {
			return
		}
		text, kind = strings.ToValidUTF8(text, "?"), strings.ToValidUTF8(kind, "?")
		e, err := event.FromProto(&eventv1.Event{
			Id: text, Source: text, Type: kind, Body: text, SeverityNumber: severity, Entity: &eventv1.EntityRef{Kind: kind, Name: text},
		}, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.evaluate(&e)
		if got := c.native(&e); err != nil || got != want {
			t.Errorf("%s is %t for %q, %q, %d; CEL says %t, %v", expression, got, text, kind, severity, want, err)
		}
	})
}

// TestHolds: both ways to decide are behind one method.
func TestHolds(t *testing.T) {
	env := newEnv(t)
	e, err := event.FromProto(&eventv1.Event{Id: "ab", SeverityNumber: 9}, event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]bool{
		"event.severity > 8": true, "event.severity > 9": false, // native
		"event.id.size() == 2": true, "event.id.size() == 3": false, // left to CEL
	} {
		c, err := env.Condition(expression)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Holds(&e); err != nil || got != want {
			t.Errorf("%s: got %t, %v, want %t", expression, got, err, want)
		}
	}
	c, err := env.Condition("event.attributes['code'] == 503")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Holds(&e); err == nil {
		t.Error("a key that the event does not have is no error")
	}
	if _, err := env.Condition("event.nothing"); err == nil {
		t.Error("an expression that does not compile is no error")
	}
}
