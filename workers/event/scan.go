package event

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON (RFC 8259) in one pass over the bytes that came. It does not build
// values: it says where they are, so that payloads stay byte for byte, errors name their
// offset, and nothing is allocated. Text must be valid UTF-8.
type scanner struct {
	b     []byte
	i     int
	depth int
	max   int // how deep objects and arrays may nest
}

// newScanner returns a scanner of text, which may begin with a byte order mark (RFC 8259, 8.1).
func newScanner(text []byte, depth int) scanner {
	return scanner{b: text, i: markLength(text), max: depth}
}

// mark is the byte order mark of UTF-8. Windows programs write it at the start of a text.
const mark = "\uFEFF"

// markLength is the length of the byte order mark at the start of text; 0 = there is none.
func markLength(text []byte) int {
	if len(text) >= len(mark) && text[0] == mark[0] && string(text[:len(mark)]) == mark {
		return len(mark)
	}
	return 0
}

// span is where a value stands.
type span struct{ from, to int }

func (s *scanner) fail(at int, format string, args ...any) error {
	return fmt.Errorf("JSON, offset %d: %w", at, fmt.Errorf(format, args...))
}

// unexpected reports what stands at the position where want should.
func (s *scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return s.fail(len(s.b), "the text ends where %s should stand", want)
	}
	return s.fail(s.i, "%q where %s should stand", s.b[s.i], want)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte; 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// end checks that nothing but white space is left.
func (s *scanner) end() error {
	s.space()
	if s.i < len(s.b) {
		return s.fail(s.i, "%q after the end of the value", s.b[s.i])
	}
	return nil
}

// only checks that the text is one value.
func (s *scanner) only() error {
	if err := s.skip(); err != nil {
		return err
	}
	return s.end()
}

// elements appends where each element of the array stands. An object that is no JSON is an
// element too where its end can be told: an event of its own, and none of its neighbours.
func (s *scanner) elements(spans *[]span) error {
	for more, err := s.enter('['); ; more, err = s.another(']') {
		if err != nil || !more {
			if err == nil {
				err = s.end()
			}
			return err
		}
		s.space()
		from := s.i
		if err := s.skip(); err != nil && !s.resync(from) {
			return err
		}
		*spans = append(*spans, span{from, s.i})
	}
}

// enter begins an object or array; more tells whether it has a first member or element.
func (s *scanner) enter(opening byte) (more bool, err error) {
	if s.peek() != opening || s.i >= len(s.b) {
		return false, s.unexpected("'" + string(rune(opening)) + "'")
	}
	if s.depth++; s.depth > s.max {
		return false, s.fail(s.i, "nested deeper than %d: %w", s.max, ErrTooLarge)
	}
	s.i++
	if s.peek() == opening+2 { // '{'+2 = '}', '['+2 = ']'
		s.i++
		s.depth--
		return false, nil
	}
	return true, nil
}

// another moves on after a member or element; more is false at the end of its container.
func (s *scanner) another(closing byte) (more bool, err error) {
	switch s.peek() {
	case ',':
		s.i++
		return true, nil
	case closing:
		s.i++
		s.depth--
		return false, nil
	}
	return false, s.unexpected("',' or '" + string(rune(closing)) + "'")
}

// name reads the name of a member and the colon behind it.
func (s *scanner) name() (text, error) {
	if s.peek() != '"' {
		return text{}, s.unexpected("a member name")
	}
	name, err := s.text()
	if err != nil {
		return name, err
	}
	if s.peek() != ':' {
		return name, s.unexpected("':'")
	}
	s.i++
	return name, nil
}

// skip passes over one value, checking it.
func (s *scanner) skip() error {
	switch c := s.peek(); c {
	case '"':
		_, err := s.text()
		return err
	case '{':
		return s.skipObject()
	case '[':
		return s.skipArray()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			_, err := s.number()
			return err
		}
		return s.unexpected("a value")
	}
}

func (s *scanner) skipObject() error {
	for more, err := s.enter('{'); ; more, err = s.another('}') {
		if err != nil || !more {
			return err
		}
		if _, err := s.name(); err != nil {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
}

func (s *scanner) skipArray() error {
	for more, err := s.enter('['); ; more, err = s.another(']') {
		if err != nil || !more {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
}

// resync moves behind the object at from, which is no JSON: to where its brackets are closed, and
// the array goes on or ends. It fails where they are not.
func (s *scanner) resync(from int) bool {
	var n nesting
	end := from + n.next(s.b[from:])
	if !n.closed() || s.b[from] != '{' {
		return false
	}
	s.i, s.depth = end, 1
	next := s.peek()
	return next == ',' || next == ']'
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.unexpected(w)
	}
	s.i += len(w)
	return nil
}

// number passes over a number and returns it as it is written.
func (s *scanner) number() (string, error) {
	from := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return "", s.unexpected("a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return "", s.unexpected("a digit")
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return "", s.unexpected("a digit")
		}
	}
	return view(s.b[from:s.i]), nil
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// text is a string as it stands between its quotes.
type text struct {
	span
	escaped bool
}

// text reads a string. Its content is checked: no control characters, valid escapes,
// valid UTF-8.
func (s *scanner) text() (text, error) {
	t := text{span: span{from: s.i + 1}}
	i, foreign := s.i+1, false
	for {
		i += plain(s.b[i:])
		if i >= len(s.b) {
			return t, s.fail(s.i, "a string without its closing quote")
		}
		switch c := s.b[i]; {
		case c == '"':
			t.to, s.i = i, i+1
			if foreign && !utf8.Valid(s.b[t.from:t.to]) {
				return t, s.fail(t.from+badUTF8(s.b[t.from:t.to]), "not valid UTF-8")
			}
			return t, nil
		case c == '\\':
			n := escapeLength(s.b[i:])
			if n == 0 {
				return t, s.fail(i, "not an escape that JSON knows")
			}
			t.escaped = true
			i += n
		case c < ' ':
			return t, s.fail(i, "control character %#02x in a string", c)
		default:
			foreign = true
			i++
		}
	}
}

// plain returns how many bytes at the start of b need no look: ASCII that is neither quote,
// backslash nor control character. It looks at eight at once.
func plain(b []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// A byte of x is zero where (x-ones)&^x has its high bit set; a false hit can only
		// stand behind a true one. Below 0x20 the same holds of w - ones*0x20.
		hit := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - ones*0x20) &^ w) | w
		if hit &= highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// escapeLength returns the length of the escape at the start of b; 0 when it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		if c >= 'A' && c <= 'F' {
			c |= 0x20
		}
		n := nibble(c)
		if n > 15 {
			return 0, false
		}
		r = r<<4 | rune(n)
	}
	return r, true
}

func badUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return 0
}

// appendUnescaped appends the text of a string that stands between its quotes as b. Half
// of a surrogate pair becomes U+FFFD: it has no meaning in UTF-8.
func appendUnescaped(dst, b []byte) []byte {
	for len(b) > 0 {
		if b[0] != '\\' {
			n := 1
			for n < len(b) && b[n] != '\\' {
				n++
			}
			dst, b = append(dst, b[:n]...), b[n:]
			continue
		}
		switch b[1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(b[2:])
			b = b[6:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
					low, _ := hex4(b[2:])
					pair = utf16.DecodeRune(r, low)
				}
				if pair != utf8.RuneError {
					b = b[6:]
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default:
			dst = append(dst, b[1])
		}
		b = b[2:]
	}
	return dst
}
