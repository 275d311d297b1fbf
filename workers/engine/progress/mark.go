package progress

import (
	"strconv"
	"strings"
)

// HeaderWatermark is the header of a Mark.
const HeaderWatermark = "Millrace-Watermark"

// Mark is what a message on a subject of a lane says of the ingress. Times are those at which the ingress stored messages, in Unix
// nanoseconds.
type Mark struct {
	// Until is the watermark of the subject: what comes of messages that the ingress stored until then is stored, as far as it
	// comes to this subject. 0 = nothing is known.
	Until int64
	// Before is the watermark that the message before this one on the subject left behind.
	Before int64
	// Newest bounds the events of the message: none comes of a message that the ingress stored later. 0 = that is not known.
	Newest int64
}

// String is the form in headers: Until, Before and Newest.
func (m Mark) String() string {
	b := strconv.AppendInt(make([]byte, 0, 64), m.Until, 10)
	b = strconv.AppendInt(append(b, ' '), m.Before, 10)
	return string(strconv.AppendInt(append(b, ' '), m.Newest, 10))
}

// ParseMark reads what String wrote; ok is false for anything else.
func ParseMark(text string) (m Mark, ok bool) {
	until, rest, _ := strings.Cut(text, " ")
	before, newest, _ := strings.Cut(rest, " ")
	for _, at := range []struct {
		text string
		to   *int64
	}{{until, &m.Until}, {before, &m.Before}, {newest, &m.Newest}} {
		n, err := strconv.ParseInt(at.text, 10, 64)
		if err != nil || n < 0 {
			return Mark{}, false
		}
		*at.to = n
	}
	return m, true
}

// After is the watermark of the subject behind a message: it never goes back.
func (m Mark) After() int64 { return max(m.Until, m.Before) }
