package event

import (
	"strconv"
	"strings"
)

// HeaderMarked names the marked events of a frame (Event.Marked) by their positions in it: "3,17,99", or "none". A
// frame of very many marked events does not have it.
const HeaderMarked = "Millrace-Marked"

const (
	severityWarn   = 13
	kubernetesType = "k8s."
	noMarks        = "none"
	// maxMarks bounds the header: a frame that has more is read as a whole.
	maxMarks = 512
)

// Marked says whether the event is one of the few that tell of trouble or of a change: a warning or worse, or one of
// Kubernetes. Who needs no other events finds them by HeaderMarked, without decoding the rest of a frame.
func (e *Event) Marked() bool {
	return e.Severity >= severityWarn || strings.HasPrefix(e.Type, kubernetesType)
}

// Marks returns the value of HeaderMarked for the frame in hand, or "" when it is to have none.
func (w *FrameWriter) Marks() string {
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
