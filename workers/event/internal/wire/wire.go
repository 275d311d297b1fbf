package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Wire types of protobuf, as Fields.Wire holds them.
const (
	VarintType  = uint8(protowire.VarintType)
	Fixed64Type = uint8(protowire.Fixed64Type)
	BytesType   = uint8(protowire.BytesType)
	fixed32Type = uint8(protowire.Fixed32Type)
)

// ErrMalformed says that an encoded message is malformed.
var ErrMalformed = errors.New("not a protobuf message: a field is cut off or malformed")

// ErrTooLarge marks what is larger than a limit allows.
var ErrTooLarge = errors.New("larger than the limit")

// Fields reads the fields of an encoded message one by one. A field of an unexpected wire
// type is an unknown field, as everywhere in protobuf: readers check wire beside num.
type Fields struct {
	Rest []byte
	Num  uint32
	Wire uint8
	N    uint64 // varint and fixed
	V    []byte // length-delimited
	Bad  bool   // stopped because of malformed input
}

// Next moves to the next field; false at the end or at malformed input.
func (f *Fields) Next() bool {
	if len(f.Rest) == 0 {
		return false
	}
	num, wire, n, from, to := Field(f.Rest, 0)
	if to == 0 {
		f.Bad, f.Rest = true, nil
		return false
	}
	f.Num, f.Wire, f.N = num, wire, n
	if wire == BytesType {
		f.V = f.Rest[from:to:to]
	}
	f.Rest = f.Rest[to:]
	return true
}

// Field reads the field at b[i:] and returns where the next one begins; 0 = malformed. The value
// of a length-delimited field is b[from:to], n that of others. Loops that look at every field of
// every event call it themselves: nothing goes through memory.
func Field(b []byte, i int) (num uint32, wire uint8, n uint64, from, to int) {
	tag := uint64(b[i])
	i++
	if tag >= 0x80 {
		if i < len(b) && b[i] < 0x80 {
			tag = tag&0x7f | uint64(b[i])<<7
			i++
		} else if tag, i = Uvarint(b, i-1); i == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
			return 0, 0, 0, 0, 0
		}
	}
	num, wire = uint32(tag>>3), uint8(tag&7)
	if num == 0 {
		return 0, 0, 0, 0, 0
	}
	switch wire {
	case BytesType:
		if i < len(b) && b[i] < 0x80 {
			n = uint64(b[i])
			i++
		} else if n, i = Uvarint(b, i); i == 0 {
			return 0, 0, 0, 0, 0
		}
		if n > uint64(len(b)-i) {
			return 0, 0, 0, 0, 0
		}
		return num, wire, n, i, i + int(n)
	case VarintType:
		n, to = Uvarint(b, i)
		return num, wire, n, i, to
	case Fixed64Type:
		if len(b)-i >= 8 {
			return num, wire, binary.LittleEndian.Uint64(b[i:]), i, i + 8
		}
	case fixed32Type:
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

// Is tells whether the current field has this number and wire type.
func (f *Fields) Is(num uint32, wire uint8) bool { return f.Num == num && f.Wire == wire }

// Text is the value as a text, which shares memory with the message.
func (f *Fields) Text() string { return String(f.V) }

// Float is the value as a double.
func (f *Fields) Float() float64 { return math.Float64frombits(f.N) }

// Nanos is the value as a time in Unix nanoseconds.
func (f *Fields) Nanos() int64 { return int64(f.N) }

// Uvarint reads a varint at b[i:] and returns where it ends; 0 = malformed.
func Uvarint(b []byte, i int) (n uint64, end int) {
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

// Checked returns v as a string if it is valid UTF-8, which protobuf demands of strings, or trusted.
func Checked(v []byte, trusted bool) (string, bool) { return String(v), trusted || utf8.Valid(v) }

// Appending fields. Zero values are left out, as proto3 does.

// AppendText appends a string.
func AppendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// AppendBytes appends bytes.
func AppendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// AppendUint appends a varint.
func AppendUint(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), n)
}

// AppendFixed appends 64 bits as they are.
func AppendFixed(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), n)
}

// AppendFloat appends a double.
func AppendFloat(b []byte, num protowire.Number, v float64) []byte {
	return AppendFixed(b, num, math.Float64bits(v))
}

// A nested message is written in place: Open, its fields, Close.

// Open begins a length-delimited field and returns where its content starts.
func Open(b []byte, num protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, num, protowire.BytesType), 0) // room for a short length
	return b, len(b)
}

// Close ends the field whose content starts at start.
func Close(b []byte, start int) []byte {
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
