package celenv

import "github.com/google/cel-go/cel"

// The names of the object types, as the CEL type checker and a Binding know them.
const (
	Event    = "millrace.event.v1.Event"
	Entity   = "millrace.event.v1.EntityRef"
	Metric   = "millrace.event.v1.Metric"
	Semantic = "millrace.event.v1.Semantic"
)

// Variable is the name of the only variable.
const Variable = "event"

// Fields returns the fields of an object type with their types, or nil for other types.
func Fields(object string) map[string]*cel.Type {
	switch object {
	case Event:
		return map[string]*cel.Type{
			"id":           cel.StringType,
			"source":       cel.StringType,
			"type":         cel.StringType,
			"subject":      cel.StringType,
			"time":         cel.TimestampType, // the Unix epoch when unset
			"severity":     cel.IntType,       // OpenTelemetry severity number, 0 when unset
			"severityText": cel.StringType,
			"body":         cel.StringType,
			"count":        cel.IntType, // at least 1
			"partitionKey": cel.StringType,
			"traceId":      cel.StringType, // 32 hex digits, empty when unset
			"reason":       cel.StringType, // of a Kubernetes event
			"entity":       cel.ObjectType(Entity),
			"metric":       cel.ObjectType(Metric),
			"semantic":     cel.ObjectType(Semantic),
			"attributes":   cel.MapType(cel.StringType, cel.DynType),
			"resource":     cel.MapType(cel.StringType, cel.StringType),
			"extensions":   cel.MapType(cel.StringType, cel.StringType),
		}
	case Entity:
		return map[string]*cel.Type{
			"kind": cel.StringType, "namespace": cel.StringType, "name": cel.StringType, "uid": cel.StringType,
		}
	case Metric:
		return map[string]*cel.Type{"name": cel.StringType, "value": cel.DoubleType, "unit": cel.StringType}
	case Semantic:
		return map[string]*cel.Type{"class": cel.StringType, "category": cel.StringType}
	}
	return nil
}
