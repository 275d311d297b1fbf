package cel

import (
	"fmt"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

func pair(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func view(t testing.TB, e *eventv1.Event) *event.Event {
	t.Helper()
	v, err := event.FromProto(e, event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return &v
}

// TestMaps: the attributes of an event are a map to expressions, whatever these ask of it.
func TestMaps(t *testing.T) {
	env := newEnv(t)
	e := view(t, &eventv1.Event{
		Id: "a",
		Attributes: []*eventv1.KeyValue{
			{Key: "code", Value: &eventv1.KeyValue_IntValue{IntValue: 500}},
			pair("host", "web-1"),
			{Key: "code", Value: &eventv1.KeyValue_IntValue{IntValue: 503}}, // what comes again replaces
			{Key: "share", Value: &eventv1.KeyValue_DoubleValue{DoubleValue: 0.5}},
			{Key: "up", Value: &eventv1.KeyValue_BoolValue{BoolValue: true}},
		},
		Resource:   []*eventv1.KeyValue{pair("k8s.pod.name", "web-1")},
		Extensions: []*eventv1.KeyValue{pair("tenant", "blue")},
	})
	for expression, want := range map[string]bool{
		"event.attributes['code'] == 503":                                     true,
		"event.attributes.code > 500 && event.attributes.share < 0.6":         true,
		"event.attributes.up":                                                 true,
		"has(event.attributes.host) && !has(event.attributes.none)":           true,
		"'host' in event.attributes && !('none' in event.attributes)":         true,
		"event.attributes.size() == 4":                                        true,
		"event.attributes.all(k, k != '')":                                    true,
		"event.attributes.exists(k, k == 'none')":                             false,
		"event.attributes.map(k, k).join(',') == 'code,host,share,up'":        true,
		"event.resource == {'k8s.pod.name': 'web-1'}":                         true,
		"{'tenant': 'blue'} == event.extensions":                              true,
		"event.resource['k8s.pod.name'] == event.attributes['host']":          true,
		"event.extensions.tenant == 'blue'":                                   true,
		"event.attributes[?'none'].orValue('x') == 'x'":                       true,
		"event.attributes.?code.orValue(0) == 503":                            true,
		"event.attributes == event.attributes":                                true,
		"[event.resource, event.extensions].exists(m, m == event.attributes)": false,
	} {
		c, err := env.Condition(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := c.Holds(e); err != nil || got != want {
			t.Errorf("%s: %t, %v, want %t", expression, got, err, want)
		}
	}
	for expression, want := range map[string]string{
		"event.attributes['none'] == 1": "no such key: none",
		"event.resource.none == 'x'":    "no such key: none",
	} {
		c, err := env.Condition(expression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Holds(e); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", expression, err, want)
		}
	}
}

// BenchmarkHolds measures conditions about an event with ten attributes. Two loops over sixteen cost 1,379 units (celenv.Dear).
func BenchmarkHolds(b *testing.B) {
	env := newEnv(b)
	for _, c := range []struct {
		name, expression string
		attributes       int
		units            float64
	}{
		{"native", "event.id != ''", 10, 0},
		{"one attribute", "event.attributes['attribute-7'] == 'value-7'", 10, 0},
		{"two attributes", "event.attributes['attribute-7'] == 'value-7' && event.attributes['attribute-2'] != 'x'", 10, 0},
		{"all attributes", "event.attributes.all(k, k != '')", 10, 0},
		{"two loops", "event.attributes.all(k, event.attributes.all(l, k != '' && l != ''))", 16, 1379},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := &eventv1.Event{Id: "id-1"}
			for i := range c.attributes {
				m.Attributes = append(m.Attributes, pair(fmt.Sprint("attribute-", i), fmt.Sprint("value-", i)))
			}
			e := view(b, m)
			condition, err := env.Condition(c.expression)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := condition.Holds(e); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
			if c.units > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/c.units, "ns/unit")
			}
		})
	}
}
