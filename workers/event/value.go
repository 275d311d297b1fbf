package event

import (
	"bytes"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// Kind is the type of a Value.
type Kind uint8

// The kinds of values. None is the value of a key without one.
const (
	None Kind = iota
	String
	Int
	Double
	Bool
	Bytes
)

// Value is the value of an attribute or extension. Its text shares memory with the event.
type Value struct {
	kind Kind
	json bool // str is the JSON text of an object or array
	num  uint64
	str  string
}

// StringValue returns the value of a text.
func StringValue(s string) Value { return Value{kind: String, str: s} }

// JSONValue returns the value of an object or array: its JSON text, which shares the kind String.
func JSONValue(text string) Value { return Value{kind: String, str: text, json: true} }

// IntValue returns the value of a whole number.
func IntValue(n int64) Value { return Value{kind: Int, num: uint64(n)} }

// DoubleValue returns the value of a number.
func DoubleValue(v float64) Value { return Value{kind: Double, num: math.Float64bits(v)} }

// BoolValue returns the value of a truth.
func BoolValue(b bool) Value { return Value{kind: Bool, num: protowire.EncodeBool(b)} }

// BytesValue returns the value of bytes, whose memory it shares.
func BytesValue(b []byte) Value { return Value{kind: Bytes, str: wire.String(b)} }

// Kind is the type of v.
func (v Value) Kind() Kind { return v.kind }

// IsJSON says whether v is the text of an object or array.
func (v Value) IsJSON() bool { return v.json }

// Bool returns the truth that v holds; false for other kinds.
func (v Value) Bool() bool { return v.kind == Bool && v.num != 0 }

// Bytes returns the bytes of a string or bytes value; they must not be changed.
func (v Value) Bytes() []byte { return wire.BytesOf(v.str) }

// Str returns the text of a string value; empty for other kinds.
func (v Value) Str() string {
	if v.kind != String {
		return ""
	}
	return v.str
}

// Int returns the whole number that v holds; ok is false when it holds none.
func (v Value) Int() (n int64, ok bool) {
	switch v.kind {
	case Int:
		return int64(v.num), true
	case Double:
		d := math.Float64frombits(v.num)
		if d != math.Trunc(d) || d < -1<<63 || d >= 1<<63 {
			return 0, false
		}
		return int64(d), true
	}
	return 0, false
}

// Float returns the number that v holds; ok is false when it holds none.
func (v Value) Float() (d float64, ok bool) {
	switch v.kind {
	case Int:
		return float64(int64(v.num)), true
	case Double:
		return math.Float64frombits(v.num), true
	}
	return 0, false
}

// Text returns v as text, whatever its kind: numbers in decimal, true or false, bytes as
// they are.
func (v Value) Text() string {
	switch v.kind {
	case Int:
		return strconv.FormatInt(int64(v.num), 10)
	case Double:
		return strconv.FormatFloat(math.Float64frombits(v.num), 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.num != 0)
	}
	return v.str
}

// Any returns v as string, int64, float64, bool, []byte, or nil.
func (v Value) Any() any {
	switch v.kind {
	case String:
		return v.str
	case Int:
		return int64(v.num)
	case Double:
		return math.Float64frombits(v.num)
	case Bool:
		return v.num != 0
	case Bytes:
		return v.Bytes()
	}
	return nil
}

// keyValue reads one encoded KeyValue.
func keyValue(b []byte) (key string, v Value) {
	f := wire.Fields{Rest: b}
	for f.Next() {
		switch {
		case f.Is(1, wire.BytesType):
			key = f.Text()
		case f.Is(2, wire.BytesType):
			v = Value{kind: String, str: f.Text()}
		case f.Is(3, wire.VarintType):
			v = Value{kind: Int, num: f.N}
		case f.Is(4, wire.Fixed64Type):
			v = Value{kind: Double, num: f.N}
		case f.Is(5, wire.VarintType):
			v = Value{kind: Bool, num: f.N}
		case f.Is(6, wire.BytesType):
			v = Value{kind: Bytes, str: f.Text()}
		}
	}
	return key, v
}

// AppendKeyValue appends field num, a KeyValue. A value is written even when it is zero:
// it is one of a oneof.
func AppendKeyValue(b []byte, num protowire.Number, key string, v Value) []byte {
	b, start := wire.Open(b, num)
	b = wire.AppendText(b, 1, key)
	switch v.kind {
	case String:
		b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), v.str)
	case Int:
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), v.num)
	case Double:
		b = protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), v.num)
	case Bool:
		b = protowire.AppendVarint(protowire.AppendTag(b, 5, protowire.VarintType), v.num)
	case Bytes:
		b = protowire.AppendString(protowire.AppendTag(b, 6, protowire.BytesType), v.str)
	}
	return wire.Close(b, start)
}

// Attribute returns the attribute named key: the last one, when there are several.
func (e *Event) Attribute(key string) (v Value, ok bool) { return e.lookUp(wire.FieldAttributes, key) }

// Attributes calls yield with every attribute until it says false. A key that comes again
// replaces what it stood for.
func (e *Event) Attributes(yield func(key string, v Value) bool) {
	e.pairs(wire.FieldAttributes, yield)
}

// Resource returns the resource attribute named key as text: the last one, when there are
// several.
func (e *Event) Resource(key string) (text string, ok bool) {
	v, ok := e.lookUp(wire.FieldResource, key)
	return v.Text(), ok
}

// Resources calls yield with every resource attribute until it says false. A key that comes
// again replaces what it stood for.
func (e *Event) Resources(yield func(key string, v Value) bool) { e.pairs(wire.FieldResource, yield) }

// ResourceKeys calls yield with the key of every resource attribute until it says false.
func (e *Event) ResourceKeys(yield func(key string) bool) {
	e.each(wire.FieldResource, func(b []byte) bool {
		key := ""
		f := wire.Fields{Rest: b}
		for f.Next() {
			if f.Is(1, wire.BytesType) {
				key = f.Text()
			}
		}
		return yield(key)
	})
}

// Extension returns the CloudEvents extension named key, if it has no typed field.
func (e *Event) Extension(key string) (v Value, ok bool) { return e.lookUp(wire.FieldExtensions, key) }

// Extensions calls yield with every CloudEvents extension that has no typed field until it
// says false. A key that comes again replaces what it stood for.
func (e *Event) Extensions(yield func(key string, v Value) bool) {
	e.pairs(wire.FieldExtensions, yield)
}

func (e *Event) pairs(num uint32, yield func(string, Value) bool) {
	e.each(num, func(b []byte) bool {
		key, v := keyValue(b)
		return yield(key, v)
	})
}

func (e *Event) lookUp(num uint32, key string) (v Value, found bool) {
	if !e.may(num) {
		return v, false
	}
	for i := 0; ; i++ {
		b, ok := e.part(i, num)
		if !ok {
			return v, found
		}
		// To look for the bytes of the key costs less than to read many fields, and mostly they are
		// not there.
		if len(b) > manyFields && !bytes.Contains(b, wire.BytesOf(key)) {
			continue
		}
		for i := 0; i < len(b); {
			n, typ, _, from, to := wire.Field(b, i)
			if i = to; to == 0 {
				break
			}
			if n != num || typ != wire.BytesType {
				continue
			}
			pair := b[from:to:to]
			// The key is nearly always the first field: compare it before reading the rest.
			if other := otherKey(pair, key); other > 0 && !repeatsKey(pair[other:]) {
				continue
			}
			if k, value := keyValue(pair); k == key {
				v, found = value, true
			}
		}
	}
}

// manyFields is the size in bytes of a part that is searched for a key before it is read.
const manyFields = 256

// The tags of the key and of a text in a KeyValue. Nearly all are shorter than 128 bytes: their end is found without a call.
const (
	keyTag  = 1<<3 | wire.BytesType
	textTag = 2<<3 | wire.BytesType
)

// otherKey returns where the first field of a KeyValue ends if that is another key than key; 0 = it
// may be that key.
func otherKey(pair []byte, key string) int {
	if len(pair) == 0 {
		return 0
	}
	if len(pair) > 1 && pair[0] == keyTag && pair[1] < 0x80 && 2+int(pair[1]) <= len(pair) {
		to := 2 + int(pair[1])
		if string(pair[2:to]) == key {
			return 0
		}
		return to
	}
	num, typ, _, from, to := wire.Field(pair, 0)
	if num != 1 || typ != wire.BytesType || string(pair[from:to]) == key {
		return 0
	}
	return to
}

// repeatsKey tells whether there is another key in the rest of a KeyValue.
func repeatsKey(b []byte) bool {
	if len(b) > 1 && b[0] == textTag && 2+int(b[1]) == len(b) && b[1] < 0x80 {
		return false
	}
	f := wire.Fields{Rest: b}
	for f.Next() {
		if f.Num == 1 {
			return true
		}
	}
	return false
}
