package frame

import (
	"strconv"
	"strings"
)

// HeaderEvents is the header of a frame that holds its number of events.
const HeaderEvents = "Millrace-Events"

// HeaderMarked names the marked events of a frame (Event.Marked) by their positions in it: "3,17,99", or "none". A
// frame of very many marked events does not have it.
const HeaderMarked = "Millrace-Marked"

const (
	noMarks = "none"
	// maxMarks bounds the header: a frame that has more is read as a whole.
	maxMarks = 512
)

// Marks returns the value of HeaderMarked for the frame in hand, or "" when it is to have none.
func (w *Writer) Marks() string {
	switch {
	case w.unmarked || len(w.marks) > maxMarks:
		return ""
	case len(w.marks) == 0:
		return noMarks
	}
	b := make([]byte, 0, 6*len(w.marks))
	for i, at := range w.marks {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(at), 10)
	}
	return string(b)
}

// ParseMarks reads the value of HeaderMarked: the positions of the marked events, ascending. It returns false for
// anything else.
func ParseMarks(text string) (marks []int, ok bool) {
	if text == noMarks {
		return []int{}, true
	}
	for field := range strings.SplitSeq(text, ",") {
		at, err := strconv.Atoi(field)
		if err != nil || at < 0 || len(marks) > 0 && at <= marks[len(marks)-1] {
			return nil, false
		}
		marks = append(marks, at)
	}
	return marks, true
}
