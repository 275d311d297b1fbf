package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"
)

// headSize is what stands before the state: its version and the digest of what it depends on.
const headSize = 2 + 16

// sumSize is what stands behind the state: its checksum.
const sumSize = 8

// Format names a format.
type Format struct {
	// Version is raised when the meaning of the bytes changes.
	Version uint16
	// Depends is what else must be the same where the state is read: settings, tables.
	Depends string
}

func (f Format) head(b []byte) []byte {
	digest := xxh3.HashString128(f.Depends).Bytes()
	return append(binary.BigEndian.AppendUint16(b, f.Version), digest[:]...)
}

// Codec writes state or reads it.
type Codec struct {
	b       []byte // what is written, or what is left to read
	reading bool
	err     error
	numbers map[string]uint64 // of the texts that were written
	texts   []string          // that were read
}

// Write appends the state that fields names to b.
func Write(b []byte, f Format, fields func(*Codec)) ([]byte, error) {
	from := len(b)
	c := &Codec{b: f.head(b), numbers: map[string]uint64{}}
	fields(c)
	if c.err != nil {
		return b[:from], c.err
	}
	return binary.BigEndian.AppendUint64(c.b, xxh3.Hash(c.b[from:])), nil
}

// Read reads the state that fields names. All of b belongs to it; nothing of b is kept.
func Read(b []byte, f Format, fields func(*Codec)) error {
	if len(b) < headSize+sumSize {
		return fmt.Errorf("state of %d bytes: cut off", len(b))
	}
	end := len(b) - sumSize
	if xxh3.Hash(b[:end]) != binary.BigEndian.Uint64(b[end:]) {
		return errors.New("state: the checksum does not match")
	}
	head := f.head(nil)
	if v := binary.BigEndian.Uint16(b); v != f.Version {
		return fmt.Errorf("state: version %d, this is version %d", v, f.Version)
	}
	if string(b[:headSize]) != string(head) {
		return errors.New("state: it is that of another config")
	}
	c := &Codec{b: b[headSize:end], reading: true}
	fields(c)
	if c.err == nil && len(c.b) > 0 {
		c.Fail("%d bytes are left over", len(c.b))
	}
	return c.err
}

// Reading says whether the codec reads.
func (c *Codec) Reading() bool { return c.reading }

// OK says whether nothing has failed so far. What was read after a failure is zero.
func (c *Codec) OK() bool { return c.err == nil }

// Fail ends reading or writing with an error; the first one counts.
func (c *Codec) Fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("state: "+format, args...)
	}
	if c.reading {
		c.b = nil
	}
}

// Check fails unless what was read is as it must be.
func (c *Codec) Check(ok bool, what string) {
	if c.reading && !ok {
		c.Fail("%s is not possible", what)
	}
}

func (c *Codec) uvarint(v uint64) uint64 {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, v)
		return v
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.Fail("cut off")
		return 0
	}
	c.b = c.b[n:]
	return v
}

// take returns the next n bytes; nil = there are not so many.
func (c *Codec) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.Fail("cut off")
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

// Len writes or reads how many elements follow, of which each takes a byte at least.
func (c *Codec) Len(n int) int {
	v := c.uvarint(uint64(n))
	if c.reading && v > uint64(len(c.b)) {
		c.Fail("cut off")
		return 0
	}
	return int(v)
}

// integer is any integer type but the plain bytes.
type integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Int writes or reads an integer of any type.
func Int[T integer](c *Codec, v *T) {
	x := int64(*v)
	u := c.uvarint(uint64(x)<<1 ^ uint64(x>>63))
	x = int64(u>>1) ^ -int64(u&1)
	if !c.reading {
		return
	}
	if *v = T(x); int64(*v) != x {
		*v = 0
		c.Fail("a number is out of range")
	}
}

// Bool writes or reads a truth.
func (c *Codec) Bool(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	Int(c, &n)
	*v = n == 1
	c.Check(n <= 1, "a truth value")
}

// Float64 writes or reads a number.
func (c *Codec) Float64(v *float64) {
	if !c.reading {
		c.b = binary.BigEndian.AppendUint64(c.b, math.Float64bits(*v))
		return
	}
	if b := c.take(8); b != nil {
		*v = math.Float64frombits(binary.BigEndian.Uint64(b))
	}
}

// Float32 writes or reads a number.
func (c *Codec) Float32(v *float32) {
	if !c.reading {
		c.b = binary.BigEndian.AppendUint32(c.b, math.Float32bits(*v))
		return
	}
	if b := c.take(4); b != nil {
		*v = math.Float32frombits(binary.BigEndian.Uint32(b))
	}
}

// Fixed64 writes or reads a number of which all bits are alike, such as a hash.
func (c *Codec) Fixed64(v *uint64) {
	if !c.reading {
		c.b = binary.BigEndian.AppendUint64(c.b, *v)
		return
	}
	if b := c.take(8); b != nil {
		*v = binary.BigEndian.Uint64(b)
	}
}

// String writes or reads a text that seldom comes twice.
func (c *Codec) String(v *string) {
	n := c.Len(len(*v))
	if !c.reading {
		c.b = append(c.b, *v...)
		return
	}
	*v = string(c.take(uint64(n)))
}

// Bytes writes or reads bytes, in the form of String. Those that were read have memory of their own.
func (c *Codec) Bytes(v *[]byte) {
	n := c.Len(len(*v))
	if !c.reading {
		c.b = append(c.b, *v...)
		return
	}
	*v = bytes.Clone(c.take(uint64(n)))
}

// Text writes or reads a text that comes again and again: it is written once. Those that were read share their memory.
func (c *Codec) Text(v *string) {
	if c.reading {
		c.readText(v)
		return
	}
	if *v == "" {
		c.uvarint(0)
		return
	}
	if n, ok := c.numbers[*v]; ok {
		c.uvarint(n)
		return
	}
	n := uint64(len(c.numbers)) + 1
	c.numbers[*v] = n
	c.uvarint(n)
	c.String(v)
}

func (c *Codec) readText(v *string) {
	switch n := c.uvarint(0); {
	case n == 0:
		*v = ""
	case n <= uint64(len(c.texts)):
		*v = c.texts[n-1]
	case n == uint64(len(c.texts))+1:
		c.String(v)
		c.Check(*v != "", "an empty text")
		c.texts = append(c.texts, *v)
	default:
		*v = ""
		c.Fail("a text has number %d of %d", n, len(c.texts))
	}
}
