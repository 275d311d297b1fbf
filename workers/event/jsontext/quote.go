package jsontext

import (
	"unicode/utf8"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// AppendQuoted appends a JSON string. s is valid UTF-8.
func AppendQuoted(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for len(s) > 0 {
		n := plain(wire.BytesOf(s))
		b = append(b, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		switch c := s[0]; {
		case c >= utf8.RuneSelf:
			_, size := utf8.DecodeRuneInString(s)
			b, s = append(b, s[:size]...), s[size:]
			continue
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		s = s[1:]
	}
	return append(b, '"')
}
