package event

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// value encodes the value at s as field f.
func (t *transcoder) value(f *fieldSpec, s *scanner, path string) error {
	if f.kind == kindPairs {
		return t.pairs(f, s)
	}
	if !f.list {
		return t.single(f, s, path)
	}
	i := 0
	for more, err := s.enter('['); ; more, err = s.another(']') {
		if err != nil || !more {
			return err
		}
		if err := t.single(f, s, path); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		i++
	}
}

// single encodes one message or scalar.
func (t *transcoder) single(f *fieldSpec, s *scanner, path string) error {
	if f.kind == kindMessage {
		return t.message(f, s, path)
	}
	s.space()
	at := s.i
	v, err := t.scalar(s)
	if err != nil {
		return err
	}
	if t.strict && !v.fits(f.kind, s.b[at] == '"') {
		return errStrict
	}
	if f.list && f.kind == kindText && !v.json { // an empty element counts too
		t.out = protowire.AppendString(protowire.AppendTag(t.out, f.num, protowire.BytesType), v.Text())
		return nil
	}
	t.out, err = appendScalar(t.out, f, v)
	if err != nil && f.name != path {
		return fmt.Errorf("%s at offset %d: %w", f.name, at, err)
	}
	return err
}

// message encodes an object as a nested message.
func (t *transcoder) message(f *fieldSpec, s *scanner, path string) error {
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
		if err := t.nested(f.of, t.text(s, name), s, path); err != nil {
			return err
		}
	}
}

// nested encodes one member of a nested message.
func (t *transcoder) nested(of *messageSpec, name string, s *scanner, path string) error {
	if s.peek() == 'n' && !t.strict {
		return s.word("null") // absent
	}
	if f := of.byName[name]; f != nil && (!t.strict || f.name == name) {
		return t.value(f, s, path)
	}
	if t.strict {
		return errStrict
	}
	v, err := t.scalar(s)
	t.extra = append(t.extra, extra{key: path + "." + name, value: v})
	return err
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
		case t.strict && v.kind == String && first != '"':
			return errStrict // it would change: null, a large number, an object
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

// fits tells whether v, quoted or not, has the JSON type that k is written in, without any conversion.
func (v Value) fits(k fieldKind, quoted bool) bool {
	switch k {
	case kindText, kindTime, kindHex:
		return v.kind == String && !v.json
	case kindDouble:
		return v.isNumber() || v.is("NaN") || v.is("Infinity") || v.is("-Infinity")
	case kindUint64, kindSint64: // a number beyond int64 is held as text
		return v.kind == Int || v.kind == String && !quoted
	}
	return v.kind == Int
}

// String names what a member of this kind holds, for errors.
func (k fieldKind) String() string {
	switch k {
	case kindText:
		return "text"
	case kindTime:
		return "an RFC 3339 time"
	case kindHex:
		return "bytes in hex"
	case kindDouble:
		return "a number"
	case kindMessage, kindPairs:
		return "an object"
	}
	return "a whole number"
}

// appendScalar appends field f with a value from JSON or from a header.
func appendScalar(b []byte, f *fieldSpec, v Value) ([]byte, error) {
	if v.json {
		return b, fmt.Errorf("want %s", f.kind)
	}
	switch f.kind {
	case kindText:
		return appendText(b, f.num, v.Text()), nil
	case kindTime:
		if v.kind != String {
			return b, errTime
		}
		nanos, err := ParseTime(v.str)
		return appendFixed(b, f.num, uint64(nanos)), err
	case kindHex:
		return appendHex(b, f.num, v)
	case kindDouble:
		d, ok := number(v)
		if !ok {
			return b, fmt.Errorf("%q is not a number", clip(v.Text()))
		}
		return appendFloat(b, f.num, d), nil
	}
	return appendWhole(b, f, v)
}

func appendHex(b []byte, num protowire.Number, v Value) ([]byte, error) {
	if v.kind != String || len(v.str) > 64 || !isHex(v.str) {
		return b, errors.New("want bytes in hex")
	}
	var buf [32]byte
	n, _ := hex.Decode(buf[:], bytesOf(v.str)) // checked above
	return appendBytes(b, num, buf[:n]), nil
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

func appendWhole(b []byte, f *fieldSpec, v Value) ([]byte, error) {
	if f.kind == kindUint64 && v.kind == String { // beyond int64
		n, err := strconv.ParseUint(v.str, 10, 64)
		if err != nil {
			return b, fmt.Errorf("%q is not a whole number from 0 to 2^64-1", clip(v.str))
		}
		return appendUint(b, f.num, n), nil
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
		return b, fmt.Errorf("%q is not a whole number from %d to %d", clip(v.Text()), low, high)
	}
	if f.kind == kindSint64 {
		return appendUint(b, f.num, protowire.EncodeZigZag(n)), nil
	}
	return appendUint(b, f.num, uint64(n)), nil
}

// whole returns the whole number that v holds or that its text says.
func whole(v Value) (int64, bool) {
	if v.kind == String && !v.json {
		n, err := strconv.ParseInt(v.str, 10, 64)
		return n, err == nil
	}
	return v.Int()
}

// number returns the number that v holds or that its text says.
func number(v Value) (float64, bool) {
	if v.kind != String {
		return v.Float()
	}
	switch v.str {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	d, err := strconv.ParseFloat(v.str, 64)
	return d, err == nil && !math.IsInf(d, 0) && !math.IsNaN(d)
}
