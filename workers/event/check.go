package event

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// Checker tells whether encoded events are whole, in a tenth of the time that it takes to decode them. It may be used at once by several.
type Checker struct{ event *shape }

// shape is what the fields of a message are, by their number.
type shape struct{ fields []fieldShape }

// fieldShape says of a length-delimited field that it is a text, or a message; neither = bytes, or unknown.
type fieldShape struct {
	text bool
	of   *shape
}

// NewChecker makes a checker of millrace.event.v1.Event.
func NewChecker() *Checker {
	return &Checker{shapeOf((&eventv1.Event{}).ProtoReflect().Descriptor(), map[protoreflect.FullName]*shape{})}
}

func shapeOf(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*shape) *shape {
	if s := known[d.FullName()]; s != nil {
		return s
	}
	s := &shape{}
	known[d.FullName()] = s
	fields := d.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		for len(s.fields) <= int(f.Number()) {
			s.fields = append(s.fields, fieldShape{})
		}
		s.fields[f.Number()].text = f.Kind() == protoreflect.StringKind
		if f.Message() != nil {
			s.fields[f.Number()].of = shapeOf(f.Message(), known)
		}
	}
	return s
}

// Check returns an error that names the first field of an encoded event that is cut off, malformed, or a text that is not UTF-8: what ToProto
// would fail for.
func (c *Checker) Check(encoded []byte) error {
	switch num := c.event.bad(encoded); num {
	case 0:
		return nil
	case cutOff:
		return wire.ErrMalformed
	default:
		return fmt.Errorf("field %d of the event is not valid: a string is not UTF-8 or a nested message is malformed", num)
	}
}

// cutOff is the number of a field that cannot be told.
const cutOff = ^uint32(0)

// bad is the number of the first field that is not valid; 0 = all are.
func (s *shape) bad(b []byte) uint32 {
	for i := 0; i < len(b); {
		num, typ, _, from, to := wire.Field(b, i)
		if to == 0 {
			return cutOff
		}
		i = to
		if typ != wire.BytesType || int(num) >= len(s.fields) {
			continue
		}
		f := &s.fields[num]
		if f.text && !utf8.Valid(b[from:to]) || f.of != nil && f.of.bad(b[from:to]) != 0 {
			return num
		}
	}
	return 0
}

// Field reads the field that begins at i of an encoded event, or of a message in it: its number, and where its value and the next field begin. text says
// that the value is length-delimited. A next of 0 says that the field is cut off or malformed.
func Field(encoded []byte, i int) (num uint32, text bool, value, next int) {
	num, typ, _, value, next := wire.Field(encoded, i)
	return num, typ == wire.BytesType, value, next
}
