package event

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Wire types of protobuf, as fields.wire holds them.
const (
	wireVarint  = uint8(protowire.VarintType)
	wireFixed64 = uint8(protowire.Fixed64Type)
	wireBytes   = uint8(protowire.BytesType)
	wireFixed32 = uint8(protowire.Fixed32Type)
)

var errWire = errors.New("not a protobuf message: a field is cut off or malformed")

// fields reads the fields of an encoded message one by one. A field of an unexpected wire
// type is an unknown field, as everywhere in protobuf: readers check wire beside num.
type fields struct {
	rest []byte
	num  uint32
	wire uint8
	n    uint64 // varint and fixed
	v    []byte // length-delimited
	bad  bool   // stopped because of malformed input
}

// next moves to the next field; false at the end or at malformed input.
func (f *fields) next() bool {
	if len(f.rest) == 0 {
		return false
	}
	num, wire, n, from, to := field(f.rest, 0)
	if to == 0 {
		f.bad, f.rest = true, nil
		return false
	}
	f.num, f.wire, f.n = num, wire, n
	if wire == wireBytes {
		f.v = f.rest[from:to:to]
	}
	f.rest = f.rest[to:]
	return true
}

// field reads the field at b[i:] and returns where the next one begins; 0 = malformed. The value
// of a length-delimited field is b[from:to], n that of others. Loops that look at every field of
// every event call it themselves: nothing goes through memory.
func field(b []byte, i int) (num uint32, wire uint8, n uint64, from, to int) {
	tag := uint64(b[i])
	i++
	if tag >= 0x80 {
		if i < len(b) && b[i] < 0x80 {
			tag = tag&0x7f | uint64(b[i])<<7
			i++
		} else if tag, i = uvarint(b, i-1); i == 0 {
			return 0, 0, 0, 0, 0
		}
	}
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return 0, 0, 0, 0, 0
	}
	num, wire = uint32(tag>>3), uint8(tag&7)
	switch wire {
	case wireBytes:
		if i < len(b) && b[i] < 0x80 {
			n = uint64(b[i])
			i++
		} else if n, i = uvarint(b, i); i == 0 {
			return 0, 0, 0, 0, 0
		}
		if n > uint64(len(b)-i) {
			return 0, 0, 0, 0, 0
		}
		return num, wire, n, i, i + int(n)
	case wireVarint:
		n, to = uvarint(b, i)
		return num, wire, n, i, to
	case wireFixed64:
		if len(b)-i >= 8 {
			return num, wire, binary.LittleEndian.Uint64(b[i:]), i, i + 8
		}
	case wireFixed32:
		if len(b)-i >= 4 {
			return num, wire, uint64(binary.LittleEndian.Uint32(b[i:])), i, i + 4
		}
	case uint8(protowire.StartGroupType):
		if size := protowire.ConsumeFieldValue(protowire.Number(num), protowire.StartGroupType, b[i:]); size >= 0 {
			return num, wire, 0, i, i + size
		}
	}
	return 0, 0, 0, 0, 0
}

// is tells whether the current field has this number and wire type.
func (f *fields) is(num uint32, wire uint8) bool { return f.num == num && f.wire == wire }

func (f *fields) text() string   { return view(f.v) }
func (f *fields) float() float64 { return math.Float64frombits(f.n) }
func (f *fields) nanos() int64   { return int64(f.n) }

// uvarint reads a varint at b[i:] and returns where it ends; 0 = malformed.
func uvarint(b []byte, i int) (n uint64, end int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	if i+1 < len(b) && b[i+1] < 0x80 {
		return uint64(b[i]&0x7f) | uint64(b[i+1])<<7, i + 2
	}
	n, size := protowire.ConsumeVarint(b[min(i, len(b)):])
	if size < 0 {
		return 0, 0
	}
	return n, i + size
}

// view returns a string that shares memory with b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns the bytes of s; they must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// checked returns v as a string if it is valid UTF-8, which protobuf demands of strings, or trusted.
func checked(v []byte, trusted bool) (string, bool) { return view(v), trusted || utf8.Valid(v) }

// Appending fields. Zero values are left out, as proto3 does.

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendUint(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), n)
}

func appendFixed(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), n)
}

func appendFloat(b []byte, num protowire.Number, v float64) []byte {
	return appendFixed(b, num, math.Float64bits(v))
}

// A nested message is written in place: open, its fields, close.

// open begins a length-delimited field and returns where its content starts.
func open(b []byte, num protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, num, protowire.BytesType), 0) // room for a short length
	return b, len(b)
}

// shut ends the field whose content starts at start.
func shut(b []byte, start int) []byte {
	size := len(b) - start
	extra := protowire.SizeVarint(uint64(size)) - 1
	for range extra {
		b = append(b, 0)
	}
	if extra > 0 {
		copy(b[start+extra:], b[start:start+size])
	}
	protowire.AppendVarint(b[start-1:start-1], uint64(size))
	return b
}
