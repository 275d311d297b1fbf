package jsontext

import "bytes"

// nesting finds where an object or array ends by its brackets alone, also when it is no JSON: a
// bare NaN or a missing comma does not hide its end. The text may come in pieces.
type nesting struct {
	open    []byte // the brackets that are open
	text    bool   // in a string
	escaped bool   // behind a backslash
	broken  bool   // a bracket closes another one, or a string runs over the end of its line
	begun   bool
}

// maxNesting bounds how deep nesting looks; JSON that nests deeper is refused anyway.
const maxNesting = 1024

// next reads on and returns how many bytes of b belong to the value; all of them unless it is closed
// or broken then.
func (n *nesting) next(b []byte) int {
	for i := 0; i < len(b); i++ {
		if n.text {
			i += n.string(b[i:])
			if n.broken || i >= len(b) {
				return min(i, len(b))
			}
			continue
		}
		switch c := b[i]; c {
		case '"':
			n.text = true
		case '{', '[':
			n.begun = true
			n.open = append(n.open, c+2) // '{'+2 = '}', '['+2 = ']'
			n.broken = len(n.open) > maxNesting
		case '}', ']':
			if len(n.open) == 0 || n.open[len(n.open)-1] != c {
				n.broken = true
				return i
			}
			n.open = n.open[:len(n.open)-1]
		}
		if n.broken || n.closed() {
			return i + 1
		}
	}
	return len(b)
}

// string reads on in a string and returns the place of its last byte in b, or len(b).
func (n *nesting) string(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch {
		case n.escaped:
			n.escaped = false
		case b[i] == '\\':
			n.escaped = true
		case b[i] == '"':
			n.text = false
			return i
		case b[i] == '\n':
			n.broken = true
			return i
		default:
			i += plain(b[i+1:])
		}
	}
	return len(b)
}

// closed tells whether all that was opened is closed.
func (n *nesting) closed() bool { return n.begun && len(n.open) == 0 && !n.text && !n.broken }

// goesOn tells whether a line ends in what must be followed by more: its value goes on in the next line.
func goesOn(line []byte) bool {
	line = bytes.TrimRight(line, " \t\r\n")
	return len(line) > 0 && bytes.IndexByte([]byte("{[,:"), line[len(line)-1]) >= 0
}
