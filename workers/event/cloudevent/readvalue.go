package cloudevent

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

// step is a part of the way to a value in a typed member.
type step struct {
	name  string
	index int // of the element of a list
}

// value encodes the value at s as field f, which the sender calls name. A value, or a part of
// it, that does not fit its field becomes an attribute: one odd detail costs no event.
func (r *Reader) value(f *fieldSpec, name string, s *jsontext.Scanner) error {
	switch {
	case f.opens == 0:
		v, err := r.scalar(s)
		r.fit(f, name, v)
		return err
	case s.Peek() != f.opens:
		return r.odd(name, s)
	case f.kind == kindPairs:
		return r.pairs(f, s)
	}
	r.path = append(r.path, step{name: name})
	err := r.container(f, s)
	r.path = r.path[:len(r.path)-1]
	return err
}

// container encodes a list or an object.
func (r *Reader) container(f *fieldSpec, s *jsontext.Scanner) error {
	if !f.list {
		return r.message(f, s)
	}
	for more, err := s.Enter('['); ; more, err = s.Another(']') {
		if err != nil || !more {
			return err
		}
		if err := r.element(f, s); err != nil {
			return err
		}
		r.path[len(r.path)-1].index++
	}
}

// element encodes one element of a list.
func (r *Reader) element(f *fieldSpec, s *jsontext.Scanner) error {
	switch first := s.Peek(); {
	case first == 'n':
		return s.Word("null") // absent
	case f.kind == kindMessage && first != '{':
		return r.odd("", s)
	case f.kind == kindMessage:
		return r.message(f, s)
	}
	v, err := r.scalar(s)
	if f.kind == kindText && !v.IsJSON() { // an empty element counts too
		r.out = protowire.AppendString(protowire.AppendTag(r.out, f.num, protowire.BytesType), v.Text())
		return err
	}
	r.fit(f, "", v)
	return err
}

// message encodes an object as a nested message.
func (r *Reader) message(f *fieldSpec, s *jsontext.Scanner) error {
	var start int
	r.out, start = wire.Open(r.out, f.num)
	for more, err := s.Enter('{'); ; more, err = s.Another('}') {
		if err != nil {
			return err
		}
		if !more {
			r.out = wire.Close(r.out, start)
			return nil
		}
		name, err := s.Name()
		if err != nil {
			return err
		}
		if err := r.nested(f.of, r.text(s, name), s); err != nil {
			return err
		}
	}
}

// nested encodes one member of a nested message.
func (r *Reader) nested(of *messageSpec, name string, s *jsontext.Scanner) error {
	f := of.byName[name]
	switch {
	case s.Peek() == 'n': // absent
		if f != nil && f.measured {
			r.out = wire.AppendFloat(r.out, f.num, math.NaN())
		}
		return s.Word("null")
	case f != nil && (!r.strict || f.name == name):
		return r.value(f, name, s)
	case r.strict:
		return errStrict
	}
	return r.odd(name, s)
}

// fit encodes v as the scalar field f where it fits.
func (r *Reader) fit(f *fieldSpec, name string, v event.Value) {
	out, fits := appendScalar(r.out, f, v)
	r.out = out
	if fits {
		return
	}
	if f.measured {
		r.out = wire.AppendFloat(r.out, f.num, math.NaN())
	}
	r.keep(name, v)
}

// odd keeps the value at s as an attribute.
func (r *Reader) odd(name string, s *jsontext.Scanner) error {
	v, err := r.scalar(s)
	r.keep(name, v)
	return err
}

// keep notes v, which has no field, under the names that lead to it: metric.labels, or
// related.2.kind. Of the first element of a list the number is left out.
func (r *Reader) keep(name string, v event.Value) {
	key := ""
	for _, at := range r.path {
		key += at.name + "."
		if at.index > 0 {
			key += strconv.Itoa(at.index) + "."
		}
	}
	if name == "" {
		key = strings.TrimSuffix(key, ".")
	}
	r.extra = append(r.extra, extra{key: key + name, value: v})
}

// pairs encodes an object of scalars as repeated KeyValue. What is no scalar is kept as
// its JSON text.
func (r *Reader) pairs(f *fieldSpec, s *jsontext.Scanner) error {
	for more, err := s.Enter('{'); ; more, err = s.Another('}') {
		if err != nil || !more {
			return err
		}
		name, err := s.Name()
		if err != nil {
			return err
		}
		first := s.Peek()
		v, err := r.scalar(s)
		switch {
		case err != nil:
			return err
		case first == 'n':
			continue
		}
		r.out = event.AppendKeyValue(r.out, f.num, r.text(s, name), v)
	}
}

// scalar reads the value at s: text, bool, int64, or double. A number that neither holds
// exactly (a large integer) or at all (1e999) is kept as its text; objects and arrays as
// their JSON text.
func (r *Reader) scalar(s *jsontext.Scanner) (event.Value, error) {
	switch c := s.Peek(); c {
	case '"':
		at, err := s.Text()
		if err != nil {
			return event.Value{}, err
		}
		return event.StringValue(r.text(s, at)), nil
	case 't':
		return event.BoolValue(true), s.Word("true")
	case 'f':
		return event.BoolValue(false), s.Word("false")
	case '{', '[', 'n':
		from := s.At
		err := s.Skip()
		return event.JSONValue(wire.String(s.Src[from:s.At])), err
	default:
		if c != '-' && (c < '0' || c > '9') {
			return event.Value{}, s.Unexpected("a value")
		}
		number, err := s.Number()
		return numberValue(number), err
	}
}

func numberValue(number string) event.Value {
	for i := 0; i < len(number); i++ {
		if c := number[i]; c == '.' || c|0x20 == 'e' {
			v, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return event.StringValue(number)
			}
			return event.DoubleValue(v)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return event.StringValue(number)
	}
	return event.IntValue(n)
}

// text returns a string of the JSON that s reads, unescaped.
func (r *Reader) text(s *jsontext.Scanner, at jsontext.Text) string {
	raw := s.Src[at.From:at.To]
	if !at.Escaped {
		return wire.String(raw)
	}
	return wire.String(jsontext.AppendUnescaped(r.memory.Take(len(raw)), raw))
}

// appendScalar appends field f with a value from JSON or from a header; ok is false when it
// does not fit the field.
func appendScalar(b []byte, f *fieldSpec, v event.Value) (_ []byte, ok bool) {
	if v.IsJSON() {
		return b, false
	}
	switch f.kind {
	case kindText:
		return wire.AppendText(b, f.num, v.Text()), true
	case kindTime:
		nanos, ok := v.Time()
		if !ok {
			return b, false
		}
		return wire.AppendFixed(b, f.num, uint64(nanos)), true
	case kindHex:
		return appendHex(b, f.num, v)
	case kindDouble:
		d, ok := number(v)
		if !ok {
			return b, false
		}
		return wire.AppendFloat(b, f.num, d), true
	}
	return appendWhole(b, f, v)
}

func appendHex(b []byte, num protowire.Number, v event.Value) (_ []byte, ok bool) {
	if v.Kind() != event.String || len(v.Str()) > 64 || !isHex(v.Str()) {
		return b, false
	}
	var buf [32]byte
	n, _ := hex.Decode(buf[:], v.Bytes()) // checked above
	return wire.AppendBytes(b, num, buf[:n]), true
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return len(s)%2 == 0
}

func appendWhole(b []byte, f *fieldSpec, v event.Value) (_ []byte, ok bool) {
	if f.kind == kindUint64 && v.Kind() == event.String { // beyond int64
		n, err := strconv.ParseUint(v.Str(), 10, 64)
		if err != nil {
			return b, false
		}
		return wire.AppendUint(b, f.num, n), true
	}
	n, ok := whole(v)
	low, high := int64(0), int64(math.MaxInt64)
	switch f.kind {
	case kindInt32:
		low, high = math.MinInt32, math.MaxInt32
	case kindUint32:
		high = math.MaxUint32
	case kindSint64:
		low = math.MinInt64
	}
	if !ok || n < low || n > high {
		return b, false
	}
	if f.kind == kindSint64 {
		return wire.AppendUint(b, f.num, protowire.EncodeZigZag(n)), true
	}
	return wire.AppendUint(b, f.num, uint64(n)), true
}

// whole returns the whole number that v holds or that its text says.
func whole(v event.Value) (int64, bool) {
	if v.Kind() == event.String && !v.IsJSON() {
		n, err := strconv.ParseInt(v.Str(), 10, 64)
		return n, err == nil
	}
	return v.Int()
}

// number returns the number that v holds or that its text says: also NaN, and Infinity or Inf
// with any sign, as Prometheus and others write them.
func number(v event.Value) (float64, bool) {
	if v.Kind() != event.String {
		return v.Float()
	}
	d, err := strconv.ParseFloat(v.Str(), 64)
	return d, err == nil
}
