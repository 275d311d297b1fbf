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
	tag, b, ok := uvarint(f.rest)
	num := tag >> 3
	if !ok || num == 0 || num > uint64(protowire.MaxValidNumber) {
		return f.fail()
	}
	f.num, f.wire, f.v, f.n = uint32(num), uint8(tag&7), nil, 0
	switch f.wire {
	case wireVarint:
		f.n, b, ok = uvarint(b)
	case wireBytes:
		var size uint64
		if size, b, ok = uvarint(b); ok && size <= uint64(len(b)) {
			f.v, b = b[:size:size], b[size:]
		} else {
			ok = false
		}
	case wireFixed64:
		if ok = len(b) >= 8; ok {
			f.n, b = binary.LittleEndian.Uint64(b), b[8:]
		}
	case wireFixed32:
		if ok = len(b) >= 4; ok {
			f.n, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		}
	case uint8(protowire.StartGroupType):
		size := protowire.ConsumeFieldValue(protowire.Number(num), protowire.StartGroupType, b)
		if ok = size >= 0; ok {
			b = b[size:]
		}
	default:
		ok = false
	}
	if !ok {
		return f.fail()
	}
	f.rest = b
	return true
}

func (f *fields) fail() bool {
	f.bad, f.rest = true, nil
	return false
}

// is tells whether the current field has this number and wire type.
func (f *fields) is(num uint32, wire uint8) bool { return f.num == num && f.wire == wire }

func (f *fields) text() string   { return view(f.v) }
func (f *fields) float() float64 { return math.Float64frombits(f.n) }
func (f *fields) nanos() int64   { return int64(f.n) }

func uvarint(b []byte) (uint64, []byte, bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, b[2:], true
	}
	n, size := protowire.ConsumeVarint(b)
	if size < 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// view returns a string that shares memory with b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns the bytes of s; they must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// checked returns b as a string if it is valid UTF-8, which protobuf demands of strings.
func checked(b []byte) (string, bool) { return view(b), utf8.Valid(b) }

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
