package jsontext

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// Scanner reads JSON (RFC 8259) in one pass over the bytes that came. It does not build
// values: it says where they are, so that payloads stay byte for byte, errors name their
// offset, and nothing is allocated. Text must be valid UTF-8.
type Scanner struct {
	Src      []byte
	At       int
	Depth    int
	MaxDepth int // how deep objects and arrays may nest
}

// DefaultDepth is how deep JSON may nest where nobody says otherwise.
const DefaultDepth = 64

// NewScanner returns a scanner of text, which may begin with a byte order mark (RFC 8259, 8.1).
func NewScanner(text []byte, depth int) Scanner {
	return Scanner{Src: text, At: MarkLength(text), MaxDepth: depth}
}

// mark is the byte order mark of UTF-8. Windows programs write it at the start of a text.
const mark = "\uFEFF"

// MarkLength is the length of the byte order mark at the start of text; 0 = there is none.
func MarkLength(text []byte) int {
	if len(text) >= len(mark) && text[0] == mark[0] && string(text[:len(mark)]) == mark {
		return len(mark)
	}
	return 0
}

// Span is where a value stands.
type Span struct{ From, To int }

func (s *Scanner) fail(at int, format string, args ...any) error {
	return fmt.Errorf("JSON, offset %d: %w", at, fmt.Errorf(format, args...))
}

// Unexpected reports what stands at the position where want should.
func (s *Scanner) Unexpected(want string) error {
	if s.At >= len(s.Src) {
		return s.fail(len(s.Src), "the text ends where %s should stand", want)
	}
	return s.fail(s.At, "%q where %s should stand", s.Src[s.At], want)
}

func (s *Scanner) space() {
	for s.At < len(s.Src) {
		switch s.Src[s.At] {
		case ' ', '\t', '\n', '\r':
			s.At++
		default:
			return
		}
	}
}

// Peek skips white space and returns the next byte; 0 at the end.
func (s *Scanner) Peek() byte {
	if s.At < len(s.Src) && s.Src[s.At] > ' ' {
		return s.Src[s.At]
	}
	s.space()
	if s.At < len(s.Src) {
		return s.Src[s.At]
	}
	return 0
}

// End checks that nothing but white space is left.
func (s *Scanner) End() error {
	s.space()
	if s.At < len(s.Src) {
		return s.fail(s.At, "%q after the end of the value", s.Src[s.At])
	}
	return nil
}

// Only checks that the text is one value.
func (s *Scanner) Only() error {
	if err := s.Skip(); err != nil {
		return err
	}
	return s.End()
}

// Elements appends where each element of the array stands. An object that is no JSON is an
// element too where its end can be told: an event of its own, and none of its neighbours.
func (s *Scanner) Elements(spans *[]Span) error {
	for more, err := s.Enter('['); ; more, err = s.Another(']') {
		if err != nil || !more {
			if err == nil {
				err = s.End()
			}
			return err
		}
		s.space()
		from := s.At
		if err := s.Skip(); err != nil && !s.resync(from) {
			return err
		}
		*spans = append(*spans, Span{from, s.At})
	}
}

// Enter begins an object or array; more tells whether it has a first member or element.
func (s *Scanner) Enter(opening byte) (more bool, err error) {
	if s.Peek() != opening || s.At >= len(s.Src) {
		return false, s.Unexpected("'" + string(rune(opening)) + "'")
	}
	if s.Depth++; s.Depth > s.MaxDepth {
		return false, s.fail(s.At, "nested deeper than %d: %w", s.MaxDepth, wire.ErrTooLarge)
	}
	s.At++
	if s.Peek() == opening+2 { // '{'+2 = '}', '['+2 = ']'
		s.At++
		s.Depth--
		return false, nil
	}
	return true, nil
}

// Another moves on after a member or element; more is false at the end of its container.
func (s *Scanner) Another(closing byte) (more bool, err error) {
	switch s.Peek() {
	case ',':
		s.At++
		return true, nil
	case closing:
		s.At++
		s.Depth--
		return false, nil
	}
	return false, s.Unexpected("',' or '" + string(rune(closing)) + "'")
}

// Name reads the name of a member and the colon behind it.
func (s *Scanner) Name() (Text, error) {
	if s.Peek() != '"' {
		return Text{}, s.Unexpected("a member name")
	}
	name, err := s.Text()
	if err != nil {
		return name, err
	}
	if s.Peek() != ':' {
		return name, s.Unexpected("':'")
	}
	s.At++
	return name, nil
}

// Skip passes over one value, checking it.
func (s *Scanner) Skip() error {
	switch c := s.Peek(); c {
	case '"':
		_, err := s.Text()
		return err
	case '{':
		return s.skipObject()
	case '[':
		return s.skipArray()
	case 't':
		return s.Word("true")
	case 'f':
		return s.Word("false")
	case 'n':
		return s.Word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			_, err := s.Number()
			return err
		}
		return s.Unexpected("a value")
	}
}

func (s *Scanner) skipObject() error {
	for more, err := s.Enter('{'); ; more, err = s.Another('}') {
		if err != nil || !more {
			return err
		}
		if _, err := s.Name(); err != nil {
			return err
		}
		if err := s.Skip(); err != nil {
			return err
		}
	}
}

func (s *Scanner) skipArray() error {
	for more, err := s.Enter('['); ; more, err = s.Another(']') {
		if err != nil || !more {
			return err
		}
		if err := s.Skip(); err != nil {
			return err
		}
	}
}

// resync moves behind the object at from, which is no JSON: to where its brackets are closed, and
// the array goes on or ends. It fails where they are not.
func (s *Scanner) resync(from int) bool {
	var n nesting
	end := from + n.next(s.Src[from:])
	if !n.closed() || s.Src[from] != '{' {
		return false
	}
	s.At, s.Depth = end, 1
	next := s.Peek()
	return next == ',' || next == ']'
}

// Word passes over a word.
func (s *Scanner) Word(w string) error {
	if len(s.Src)-s.At < len(w) || string(s.Src[s.At:s.At+len(w)]) != w {
		return s.Unexpected(w)
	}
	s.At += len(w)
	return nil
}

// Number passes over a number and returns it as it is written.
func (s *Scanner) Number() (string, error) {
	from := s.At
	if s.Src[s.At] == '-' {
		s.At++
	}
	if s.At < len(s.Src) && s.Src[s.At] == '0' {
		s.At++
	} else if !s.digits() {
		return "", s.Unexpected("a digit")
	}
	if s.At < len(s.Src) && s.Src[s.At] == '.' {
		s.At++
		if !s.digits() {
			return "", s.Unexpected("a digit")
		}
	}
	if s.At < len(s.Src) && s.Src[s.At]|0x20 == 'e' {
		s.At++
		if s.At < len(s.Src) && (s.Src[s.At] == '+' || s.Src[s.At] == '-') {
			s.At++
		}
		if !s.digits() {
			return "", s.Unexpected("a digit")
		}
	}
	return wire.String(s.Src[from:s.At]), nil
}

func (s *Scanner) digits() bool {
	from := s.At
	for s.At < len(s.Src) && s.Src[s.At]-'0' <= 9 {
		s.At++
	}
	return s.At > from
}

// Text is a string as it stands between its quotes.
type Text struct {
	Span
	Escaped bool
}

// Text reads a string. Its content is checked: no control characters, valid escapes,
// valid UTF-8.
func (s *Scanner) Text() (Text, error) {
	t := Text{Span: Span{From: s.At + 1}}
	i, foreign := s.At+1, false
	for {
		i += plain(s.Src[i:])
		if i >= len(s.Src) {
			return t, s.fail(s.At, "a string without its closing quote")
		}
		switch c := s.Src[i]; {
		case c == '"':
			t.To, s.At = i, i+1
			if foreign && !utf8.Valid(s.Src[t.From:t.To]) {
				return t, s.fail(t.From+badUTF8(s.Src[t.From:t.To]), "not valid UTF-8")
			}
			return t, nil
		case c == '\\':
			n := escapeLength(s.Src[i:])
			if n == 0 {
				return t, s.fail(i, "not an escape that JSON knows")
			}
			t.Escaped = true
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
		n := wire.Nibble(c)
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

// AppendUnescaped appends the text of a string that stands between its quotes as b. Half
// of a surrogate pair becomes U+FFFD: it has no meaning in UTF-8.
func AppendUnescaped(dst, b []byte) []byte {
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
