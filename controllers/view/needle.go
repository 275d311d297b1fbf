package view

import "bytes"

// needle is a text that is looked for in many others (Horspool, Practical fast searching in strings, 1980). Ids look like each other at their
// beginning, and so do the texts that hold them: to begin at the end, where they differ, skips most bytes.
type needle struct {
	text []byte
	skip [256]uint8 // how far to go on behind a byte; no further than 255
}

// shortNeedle is below how many bytes a text is looked for byte by byte: little can be skipped.
const shortNeedle = 4

func newNeedle(text string) *needle {
	n := &needle{text: []byte(text)}
	size := min(len(text), 255)
	for i := range n.skip {
		n.skip[i] = uint8(size)
	}
	for i := len(text) - size; i < len(text)-1; i++ {
		n.skip[text[i]] = uint8(len(text) - 1 - i)
	}
	return n
}

// in says whether a text holds it.
func (n *needle) in(text []byte) bool {
	if len(n.text) < shortNeedle {
		return bytes.Contains(text, n.text)
	}
	last := len(n.text) - 1
	end := n.text[last]
	for i := last; i < len(text); {
		c := text[i]
		if c == end && bytes.Equal(text[i-last:i+1], n.text) {
			return true
		}
		i += int(n.skip[c])
	}
	return false
}
