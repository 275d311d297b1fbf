package cel

import (
	"encoding/hex"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// binding reads the fields of expressions from the view of an event: what an expression does not name
// is not decoded.
type binding struct{}

// field reads one field and tells whether it is set.
type field struct {
	get func(target any) any
	set func(target any) bool
	// text and number read a field of that type without making a value of CEL (see native).
	text   func(target any) string
	number func(target any) int64
}

// of makes a field of an object whose Go value is T.
func of[T any, V comparable](get func(T) V) field {
	return field{
		get: func(target any) any { return get(target.(T)) },
		set: func(target any) bool { var zero V; return get(target.(T)) != zero },
	}
}

// ofText makes a field whose value is text. Its CEL value is made here: cel-go would make
// it from a Go string that had to be allocated first.
func ofText[T any](get func(T) string) field {
	return field{
		get:  func(target any) any { return types.String(get(target.(T))) },
		set:  func(target any) bool { return get(target.(T)) != "" },
		text: func(target any) string { return get(target.(T)) },
	}
}

// ofNumber makes a field of an event whose value is a whole number.
func ofNumber(get func(*event.Event) int64) field {
	f := of(get)
	f.number = func(target any) int64 { return get(target.(*event.Event)) }
	return f
}

func fieldsOf(object string) map[string]field {
	switch object {
	case celenv.Event:
		return eventFields()
	case celenv.Entity:
		return map[string]field{
			"kind":      ofText(func(r *event.EntityRef) string { return r.Kind }),
			"namespace": ofText(func(r *event.EntityRef) string { return r.Namespace }),
			"name":      ofText(func(r *event.EntityRef) string { return r.Name }),
			"uid":       ofText(func(r *event.EntityRef) string { return r.UID }),
		}
	case celenv.Metric:
		return map[string]field{
			"name":  ofText(func(m event.Metric) string { return m.Name }),
			"value": of(func(m event.Metric) float64 { return m.Value }),
			"unit":  ofText(func(m event.Metric) string { return m.Unit }),
		}
	case celenv.Semantic:
		return map[string]field{
			"class":    ofText(func(s event.Semantic) string { return s.Class }),
			"category": ofText(func(s event.Semantic) string { return s.Category }),
		}
	}
	return nil
}

func eventFields() map[string]field {
	return map[string]field{
		"id":           ofText(func(e *event.Event) string { return e.ID }),
		"source":       ofText(func(e *event.Event) string { return e.Source }),
		"type":         ofText(func(e *event.Event) string { return e.Type }),
		"subject":      ofText(func(e *event.Event) string { return e.Subject }),
		"severity":     ofNumber(func(e *event.Event) int64 { return int64(e.Severity) }),
		"severityText": ofText((*event.Event).SeverityText),
		"body":         ofText(func(e *event.Event) string { return e.Body }),
		"count":        ofNumber(func(e *event.Event) int64 { return int64(e.Count) }),
		"partitionKey": ofText(func(e *event.Event) string { return e.PartitionKey }),
		"traceId":      ofText(func(e *event.Event) string { return hex.EncodeToString(e.TraceID) }),
		"reason":       ofText((*event.Event).KubernetesReason),
		"time": {
			get: func(t any) any { return time.Unix(0, t.(*event.Event).Time).UTC() },
			set: func(t any) bool { return t.(*event.Event).Time != 0 },
		},
		"entity": {
			get: func(t any) any { return &t.(*event.Event).Entity },
			set: func(t any) bool { return t.(*event.Event).Entity != event.EntityRef{} },
		},
		"metric": {
			get: func(t any) any { m, _ := t.(*event.Event).Metric(); return m },
			set: func(t any) bool { _, ok := t.(*event.Event).Metric(); return ok },
		},
		"semantic": {
			get: func(t any) any { s, _ := t.(*event.Event).Semantic(); return s },
			set: func(t any) bool { _, ok := t.(*event.Event).Semantic(); return ok },
		},
		"attributes": (&pairs{
			find:  func(e *event.Event, key string) (any, bool) { v, ok := e.Attribute(key); return v.Any(), ok },
			visit: (*event.Event).Attributes, value: event.Value.Any,
		}).field(),
		"resource": (&pairs{
			find:  func(e *event.Event, key string) (any, bool) { return e.Resource(key) },
			visit: (*event.Event).Resources, value: textOf,
		}).field(),
		"extensions": (&pairs{
			find:  func(e *event.Event, key string) (any, bool) { v, ok := e.Extension(key); return v.Text(), ok },
			visit: (*event.Event).Extensions, value: textOf,
		}).field(),
	}
}

func textOf(v event.Value) any { return v.Text() }

// Getter implements celenv.Binding.
func (binding) Getter(object, name string) ref.FieldGetter {
	f := fieldsOf(object)[name]
	return func(target any) (any, error) { return f.get(target), nil }
}

// Tester implements celenv.Binding.
func (binding) Tester(object, name string) ref.FieldTester { return fieldsOf(object)[name].set }

// Adapter implements celenv.Binding: the values of getters are values of CEL, Go values that it knows,
// and objects that only its getters open.
func (binding) Adapter(base types.Adapter) types.Adapter { return base }
