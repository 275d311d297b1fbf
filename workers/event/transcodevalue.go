package event

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// step is a part of the way to a value in a typed member.
type step struct {
	name  string
	index int // of the element of a list
}

// value encodes the value at s as field f, which the sender calls name. A value, or a part of
// it, that does not fit its field becomes an attribute: one odd detail costs no event.
func (t *transcoder) value(f *fieldSpec, name string, s *scanner) error {
	switch {
	case f.opens == 0:
		v, err := t.scalar(s)
		t.fit(f, name, v)
		return err
	case s.peek() != f.opens:
		return t.odd(name, s)
	case f.kind == kindPairs:
		return t.pairs(f, s)
	}
	t.path = append(t.path, step{name: name})
	err := t.container(f, s)
	t.path = t.path[:len(t.path)-1]
	return err
}

// container encodes a list or an object.
func (t *transcoder) container(f *fieldSpec, s *scanner) error {
	if !f.list {
		return t.message(f, s)
	}
	for more, err := s.enter('['); ; more, err = s.another(']') {
		if err != nil || !more {
			return err
		}
		if err := t.element(f, s); err != nil {
			return err
		}
		t.path[len(t.path)-1].index++
	}
}

// element encodes one element of a list.
func (t *transcoder) element(f *fieldSpec, s *scanner) error {
	switch first := s.peek(); {
	case first == 'n':
		return s.word("null") // absent
	case f.kind == kindMessage && first != '{':
		return t.odd("", s)
	case f.kind == kindMessage:
		return t.message(f, s)
	}
	v, err := t.scalar(s)
	if f.kind == kindText && !v.json { // an empty element counts too
		t.out = protowire.AppendString(protowire.AppendTag(t.out, f.num, protowire.BytesType), v.Text())
		return err
	}
	t.fit(f, "", v)
	return err
}

// message encodes an object as a nested message.
func (t *transcoder) message(f *fieldSpec, s *scanner) error {
	var start int
	t.out, start = open(t.out, f.num)
	for more, err := s.enter('{'); ; more, err = s.another('}') {
		if err != nil {
			return err
		}
		if !more {
			t.out = shut(t.out, start)
			return nil
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if err := t.nested(f.of, t.text(s, name), s); err != nil {
			return err
		}
	}
}

// nested encodes one member of a nested message.
func (t *transcoder) nested(of *messageSpec, name string, s *scanner) error {
	f := of.byName[name]
	switch {
	case s.peek() == 'n': // absent
		if f != nil && f.measured {
			t.out = appendFloat(t.out, f.num, math.NaN())
		}
		return s.word("null")
	case f != nil && (!t.strict || f.name == name):
		return t.value(f, name, s)
	case t.strict:
		return errStrict
	}
	return t.odd(name, s)
}

// fit encodes v as the scalar field f where it fits.
func (t *transcoder) fit(f *fieldSpec, name string, v Value) {
	out, fits := appendScalar(t.out, f, v)
	t.out = out
	if fits {
		return
	}
	if f.measured {
		t.out = appendFloat(t.out, f.num, math.NaN())
	}
	t.keep(name, v)
}

// odd keeps the value at s as an attribute.
func (t *transcoder) odd(name string, s *scanner) error {
	v, err := t.scalar(s)
	t.keep(name, v)
	return err
}

// keep notes v, which has no field, under the names that lead to it: metric.labels, or
// related.2.kind. Of the first element of a list the number is left out.
func (t *transcoder) keep(name string, v Value) {
	key := ""
	for _, at := range t.path {
		key += at.name + "."
		if at.index > 0 {
			key += strconv.Itoa(at.index) + "."
		}
	}
	if name == "" {
		key = strings.TrimSuffix(key, ".")
	}
	t.extra = append(t.extra, extra{key: key + name, value: v})
}

// pairs encodes an object of scalars as repeated KeyValue. What is no scalar is kept as
// its JSON text.
func (t *transcoder) pairs(f *fieldSpec, s *scanner) error {
	for more, err := s.enter('{'); ; more, err = s.another('}') {
		if err != nil || !more {
			return err
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		first := s.peek()
		v, err := t.scalar(s)
		switch {
		case err != nil:
			return err
		case first == 'n':
			continue
		}
		t.out = appendKeyValue(t.out, f.num, t.text(s, name), v)
	}
}

// scalar reads the value at s: text, bool, int64, or double. A number that neither holds
// exactly (a large integer) or at all (1e999) is kept as its text; objects and arrays as
// their JSON text.
func (t *transcoder) scalar(s *scanner) (Value, error) {
	switch c := s.peek(); c {
	case '"':
		at, err := s.text()
		if err != nil {
			return Value{}, err
		}
		return StringValue(t.text(s, at)), nil
	case 't':
		return BoolValue(true), s.word("true")
	case 'f':
		return BoolValue(false), s.word("false")
	case '{', '[', 'n':
		from := s.i
		err := s.skip()
		return Value{kind: String, str: view(s.b[from:s.i]), json: true}, err
	default:
		if c != '-' && (c < '0' || c > '9') {
			return Value{}, s.unexpected("a value")
		}
		number, err := s.number()
		return numberValue(number), err
	}
}

func numberValue(number string) Value {
	for i := 0; i < len(number); i++ {
		if c := number[i]; c == '.' || c|0x20 == 'e' {
			v, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return StringValue(number)
			}
			return DoubleValue(v)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return StringValue(number)
	}
	return IntValue(n)
}

// text returns a string of the JSON that s reads, unescaped.
func (t *transcoder) text(s *scanner, at text) string {
	raw := s.b[at.from:at.to]
	if !at.escaped {
		return view(raw)
	}
	return view(appendUnescaped(t.d.arena.take(len(raw)), raw))
}

// appendScalar appends field f with a value from JSON or from a header; ok is false when it
// does not fit the field.
func appendScalar(b []byte, f *fieldSpec, v Value) (_ []byte, ok bool) {
	if v.json {
		return b, false
	}
	switch f.kind {
	case kindText:
		return appendText(b, f.num, v.Text()), true
	case kindTime:
		nanos, ok := timeOf(v)
		if !ok {
			return b, false
		}
		return appendFixed(b, f.num, uint64(nanos)), true
	case kindHex:
		return appendHex(b, f.num, v)
	case kindDouble:
		d, ok := number(v)
		if !ok {
			return b, false
		}
		return appendFloat(b, f.num, d), true
	}
	return appendWhole(b, f, v)
}

func appendHex(b []byte, num protowire.Number, v Value) (_ []byte, ok bool) {
	if v.kind != String || len(v.str) > 64 || !isHex(v.str) {
		return b, false
	}
	var buf [32]byte
	n, _ := hex.Decode(buf[:], bytesOf(v.str)) // checked above
	return appendBytes(b, num, buf[:n]), true
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

func appendWhole(b []byte, f *fieldSpec, v Value) (_ []byte, ok bool) {
	if f.kind == kindUint64 && v.kind == String { // beyond int64
		n, err := strconv.ParseUint(v.str, 10, 64)
		if err != nil {
			return b, false
		}
		return appendUint(b, f.num, n), true
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
		return appendUint(b, f.num, protowire.EncodeZigZag(n)), true
	}
	return appendUint(b, f.num, uint64(n)), true
}

// whole returns the whole number that v holds or that its text says.
func whole(v Value) (int64, bool) {
	if v.kind == String && !v.json {
		n, err := strconv.ParseInt(v.str, 10, 64)
		return n, err == nil
	}
	return v.Int()
}

// number returns the number that v holds or that its text says: also NaN, and Infinity or Inf
// with any sign, as Prometheus and others write them.
func number(v Value) (float64, bool) {
	if v.kind != String {
		return v.Float()
	}
	d, err := strconv.ParseFloat(v.str, 64)
	return d, err == nil
}
