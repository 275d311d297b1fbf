package event

import (
	"bytes"
	"fmt"
)

// cutter cuts a text into the events that it holds: objects, one a line or spread over lines, and
// the elements of arrays of objects. The text may come in pieces. What is no event is cut out as it
// stands: a line, or an object as far as it can be told apart.
type cutter struct {
	max     int // how deep JSON may nest
	inArray bool
	at      int64 // bytes of the text that were taken, for errors
}

// taken is what cut found.
type taken struct {
	text []byte // nil = nothing yet
	n    int    // bytes that are done with
	wait bool   // more of the text is needed
	err  error  // the rest of an array cannot be told apart
}

// cut takes the next event from b. last says that nothing comes behind b.
func (c *cutter) cut(b []byte, last bool) taken {
	from := c.blank(b)
	c.at += int64(from)
	var t taken
	switch {
	case from == len(b) && c.inArray && last:
		t.err = c.noEnd()
	case from == len(b):
		t.wait = true
	case c.inArray:
		t = c.element(b[from:], last)
	case b[from] == '{':
		t = c.object(b[from:], last)
	case b[from] == '[':
		t = c.array(b[from:], last)
	default:
		t = line(b[from:], last)
	}
	c.at += int64(t.n)
	t.n += from
	return t
}

func (c *cutter) noEnd() error {
	return fmt.Errorf("the array has no end: the input is cut off at byte %d", c.at)
}

// blank returns the length of what stands between events at the start of b.
func (c *cutter) blank(b []byte) int {
	for i := 0; i < len(b); {
		switch b[i] {
		case ' ', '\t', '\n', '\r':
			i++
		case ',':
			if !c.inArray {
				return i
			}
			i++
		default:
			n := markLength(b[i:])
			if n == 0 {
				return i
			}
			i += n
		}
	}
	return len(b)
}

// line takes the rest of the line.
func line(b []byte, last bool) taken {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && !last:
		return taken{wait: true}
	case end < 0:
		end = len(b)
	}
	return taken{text: bytes.TrimRight(b[:end], " \t\r"), n: end}
}

// object takes the object at the start of b.
func (c *cutter) object(b []byte, last bool) taken {
	s := scanner{b: b, max: c.max}
	if s.skip() != nil {
		if !last && s.cutOff() {
			return taken{wait: true}
		}
		return c.broken(b, last)
	}
	end := s.i
	for s.i < len(b) && (b[s.i] == ' ' || b[s.i] == '\t' || b[s.i] == '\r') {
		s.i++
	}
	switch {
	case s.i == len(b) && !last:
		return taken{wait: true}
	case s.i == len(b) || b[s.i] == '\n' || b[s.i] == '{' || b[s.i] == '[':
		return taken{text: b[:end], n: end}
	}
	t := line(b[end:], last) // more stands behind it: the line is no event
	if t.wait {
		return t
	}
	t.text, t.n = b[:end+len(t.text)], end+t.n
	return t
}

// broken takes an object that is no JSON: one line where that cannot go on in the next one, else as
// far as its brackets or the next line that begins with an object.
func (c *cutter) broken(b []byte, last bool) taken {
	t := line(b, last)
	if t.wait || !goesOn(t.text) {
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
		return taken{wait: true}
	}
	return taken{text: bytes.TrimRight(b[:end], " \t\r\n"), n: end}
}

// array takes the start of an array of objects. Of anything else that begins like one it takes the line.
func (c *cutter) array(b []byte, last bool) taken {
	s := scanner{b: b, i: 1}
	switch first := s.peek(); {
	case first == '{' || first == ']':
		c.inArray = true
		return taken{n: 1}
	case first == 0 && !last:
		return taken{wait: true}
	}
	return line(b, last)
}

// element takes an element of an array, or its end.
func (c *cutter) element(b []byte, last bool) taken {
	if b[0] == ']' {
		c.inArray = false
		return taken{n: 1}
	}
	s := scanner{b: b, max: c.max}
	err := s.skip()
	switch {
	case err == nil && s.i == len(b) && !last:
		return taken{wait: true}
	case err == nil:
		return taken{text: b[:s.i], n: s.i}
	case !last && s.cutOff():
		return taken{wait: true}
	case s.resync(0):
		return taken{text: b[:s.i], n: s.i}
	}
	var n nesting
	end := n.next(b)
	if !last && !n.broken && b[0] == '{' && len(bytes.TrimSpace(b[end:])) == 0 {
		return taken{wait: true}
	}
	return taken{text: b, n: len(b), err: fmt.Errorf("the array is broken in the element at byte %d (%w): where the next event begins cannot be told", c.at, err)}
}

// cutOff tells whether the scanner, which has failed, could go on if more came behind its text.
func (s *scanner) cutOff() bool {
	rest := s.b[min(s.i, len(s.b)):]
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

// foreign says what a text is that is no UTF-8 text; nil when it may be one.
func foreign(b []byte) error {
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

// unknown says what is wrong with a message that is neither JSON nor a frame.
func unknown(b []byte) error {
	const want = "neither JSON, which begins with { or [, nor a frame"
	if err := foreign(b); err != nil {
		return fmt.Errorf("%s: %w", want, err)
	}
	start := b[:min(len(b), 16)]
	for _, c := range start {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f {
			return fmt.Errorf("%s: it begins with the bytes % x", want, start)
		}
	}
	return fmt.Errorf("%s: it begins with %q", want, start)
}
