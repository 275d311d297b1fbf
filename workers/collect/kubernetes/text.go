package kubernetes

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// The API server takes texts of almost any size and of bytes that are no text, from anybody who
// may write an Event. In bytes; a frame stays far below what NATS takes.
const (
	maxBody  = 32 << 10
	maxValue = 8 << 10 // of a resource or an attribute, such as all images of a Deployment
	maxName  = 1 << 10 // of anything else
)

// text is s without what is no text, cut to a limit.
func text(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
}

// boundTexts makes all texts of an event such that it encodes, and fits into a frame. The id
// stays: the ledger knows it.
func boundTexts(e *eventv1.Event) {
	id := e.Id
	e.Body = text(e.Body, maxBody)
	for _, list := range [][]*eventv1.KeyValue{e.Resource, e.Attributes} {
		for _, pair := range list {
			if v, ok := pair.Value.(*eventv1.KeyValue_StringValue); ok {
				v.StringValue = text(v.StringValue, maxValue)
			}
		}
	}
	boundNames(e.ProtoReflect())
	e.Id = id
}

// boundNames bounds the texts of m and of the messages in it that have no bound of their own.
func boundNames(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Message() != nil && field.IsList():
			for i := range v.List().Len() {
				boundNames(v.List().Get(i).Message())
			}
		case field.Message() != nil:
			boundNames(v.Message())
		case field.Kind() == protoreflect.StringKind && !field.IsList() && field.Name() != "body" && field.Name() != "string_value":
			m.Set(field, protoreflect.ValueOfString(text(v.String(), maxName)))
		}
		return true
	})
}
