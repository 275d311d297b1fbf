package jsontext

import (
	"bytes"
	"fmt"
)

// Cutter cuts a text into the events that it holds: objects, one a line or spread over lines, and
// the elements of arrays of objects. The text may come in pieces. What is no event is cut out as it
// stands: a line, or an object as far as it can be told apart.
type Cutter struct {
	MaxDepth int // how deep JSON may nest
	InArray  bool
	at       int64 // bytes of the text that were taken, for errors
}

// Taken is what Cut found.
type Taken struct {
	Text []byte // nil = nothing yet
	From int    // where Text begins
	Size int    // bytes that are done with
	Wait bool   // more of the text is needed
	Err  error  // the rest of an array cannot be told apart
}

// Cut takes the next event from b. last says that nothing comes behind b.
func (c *Cutter) Cut(b []byte, last bool) Taken {
	from := c.Blank(b)
	c.at += int64(from)
	var t Taken
	switch {
	case from == len(b) && c.InArray && last:
		t.Err = c.noEnd()
	case from == len(b):
		t.Wait = true
	case c.InArray:
		t = c.element(b[from:], last)
	case b[from] == '{':
		t = c.object(b[from:], last)
	case b[from] == '[':
		t = c.array(b[from:], last)
	default:
		t = Line(b[from:], last)
	}
	c.at += int64(t.Size)
	t.From, t.Size = from, t.Size+from
	return t
}

func (c *Cutter) noEnd() error {
	return fmt.Errorf("the array has no end: the input is cut off at byte %d", c.at)
}

// Blank returns the length of what stands between events at the start of b.
func (c *Cutter) Blank(b []byte) int {
	for i := 0; i < len(b); {
		switch b[i] {
		case ' ', '\t', '\n', '\r':
			i++
		case ',':
			if !c.InArray {
				return i
			}
			i++
		default:
			n := MarkLength(b[i:])
			if n == 0 {
				return i
			}
			i += n
		}
	}
	return len(b)
}

// Line takes the rest of the line.
func Line(b []byte, last bool) Taken {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && !last:
		return Taken{Wait: true}
	case end < 0:
		end = len(b)
	}
	return Taken{Text: bytes.TrimRight(b[:end], " \t\r"), Size: end}
}

// object takes the object at the start of b.
func (c *Cutter) object(b []byte, last bool) Taken {
	s := Scanner{Src: b, MaxDepth: c.MaxDepth}
	if s.Skip() != nil {
		if !last && s.cutOff() {
			return Taken{Wait: true}
		}
		return c.broken(b, last)
	}
	end := s.At
	for s.At < len(b) && (b[s.At] == ' ' || b[s.At] == '\t' || b[s.At] == '\r') {
		s.At++
	}
	switch {
	case s.At == len(b) && !last:
		return Taken{Wait: true}
	case s.At == len(b) || b[s.At] == '\n' || b[s.At] == '{' || b[s.At] == '[':
		return Taken{Text: b[:end], Size: end}
	}
	t := Line(b[end:], last) // more stands behind it: the line is no event
	if t.Wait {
		return t
	}
	t.Text, t.Size = b[:end+len(t.Text)], end+t.Size
	return t
}

// broken takes an object that is no JSON: one line where that cannot go on in the next one, else as
// far as its brackets or the next line that begins with an object.
func (c *Cutter) broken(b []byte, last bool) Taken {
	t := Line(b, last)
	if t.Wait || !goesOn(t.Text) {
		return t
	}
	end := len(b)
	if next := bytes.Index(b, []byte("\n{")); next >= 0 {
		end, last = next, true
	}
	var n nesting
	if close := n.next(b[:end]); n.closed() {
		end, last = close, true
	}
	if !last {
		return Taken{Wait: true}
	}
	return Taken{Text: bytes.TrimRight(b[:end], " \t\r\n"), Size: end}
}

// array takes the start of an array of objects. Of anything else that begins like one it takes the line.
func (c *Cutter) array(b []byte, last bool) Taken {
	s := Scanner{Src: b, At: 1}
	switch first := s.Peek(); {
	case first == '{' || first == ']':
		c.InArray = true
		return Taken{Size: 1}
	case first == 0 && !last:
		return Taken{Wait: true}
	}
	return Line(b, last)
}

// element takes an element of an array, or its end.
func (c *Cutter) element(b []byte, last bool) Taken {
	if b[0] == ']' {
		c.InArray = false
		return Taken{Size: 1}
	}
	s := Scanner{Src: b, MaxDepth: c.MaxDepth}
	err := s.Skip()
	switch {
	case err == nil && s.At == len(b) && !last:
		return Taken{Wait: true}
	case err == nil:
		return Taken{Text: b[:s.At], Size: s.At}
	case !last && s.cutOff():
		return Taken{Wait: true}
	case s.resync(0):
		return Taken{Text: b[:s.At], Size: s.At}
	}
	var n nesting
	end := n.next(b)
	if !last && !n.broken && b[0] == '{' && len(bytes.TrimSpace(b[end:])) == 0 {
		return Taken{Wait: true}
	}
	return Taken{Text: b, Size: len(b), Err: fmt.Errorf("the array is broken in the element at byte %d (%w): where the next event begins cannot be told", c.at, err)}
}

// cutOff tells whether the scanner, which has failed, could go on if more came behind its text.
func (s *Scanner) cutOff() bool {
	rest := s.Src[min(s.At, len(s.Src)):]
	if len(rest) == 0 {
		return true
	}
	if rest[0] == '"' {
		n := nesting{text: true}
		n.string(rest[1:])
		return n.text && !n.broken
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(rest) < len(word) && word[:len(rest)] == string(rest) {
			return true
		}
	}
	return false
}

// Foreign says what a text is that is no UTF-8 text; nil when it may be one.
func Foreign(b []byte) error {
	starts := func(with string) bool { return bytes.HasPrefix(b, []byte(with)) }
	switch {
	case starts("\xff\xfe"), starts("\xfe\xff"), starts("{\x00"), starts("[\x00"), starts("\x00{"), starts("\x00["):
		return fmt.Errorf("it is UTF-16 text: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
	case starts("\x1f\x8b"):
		return fmt.Errorf("it is compressed with gzip: decompress it (gzip -d)")
	case starts("\x28\xb5\x2f\xfd"):
		return fmt.Errorf("it is compressed with zstd: decompress it (zstd -d)")
	}
	return nil
}
