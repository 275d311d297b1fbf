package engine

import (
	"cmp"
	"strconv"
	"strings"
)

// position is a place in what a lane makes of one input: everything up to it has been made.
type position struct {
	// seq is the stream sequence of an input message.
	seq uint64
	// tick is the stream time, in Unix seconds, of a flush after that message; 0 = the message itself.
	tick int64
	// index counts what the message or the flush led to; for a received event it is its place
	// in the message.
	index uint32
}

// finalTick is the tick of the final flush, behind all others.
const finalTick = 1 << 60

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.seq, q.seq), cmp.Compare(p.tick, q.tick), cmp.Compare(p.index, q.index))
}

func (p position) after(q position) bool { return p.compare(q) > 0 }

// producedIndex is the index of the first new event that a stage made of one message, by its
// depth in the chain; so what a stage receives stands before what it makes.
func producedIndex(depth int) uint32 { return uint32(depth+1) << 26 }

// place names an input in a header: the port it comes from, and which stream of that name
// it was. A stream that was deleted and made again begins to count anew.
type place struct{ from, stream string }

func (p place) String() string { return p.from + "@" + p.stream }

// appendReach encodes how far an output reaches into each input: from@stream:seq.tick.index,
// separated by spaces. Inputs that it does not reach into are left out.
func appendReach(b []byte, places []place, reach []position) []byte {
	start := len(b)
	for i, p := range reach {
		if p == (position{}) {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(append(append(append(b, places[i].from...), '@'), places[i].stream...), ':')
		b = append(strconv.AppendUint(b, p.seq, 10), '.')
		b = append(strconv.AppendInt(b, p.tick, 10), '.')
		b = strconv.AppendUint(b, uint64(p.index), 10)
	}
	return b
}

// parseReach decodes what appendReach wrote. Inputs that are not among places, and what is
// malformed, count as not reached.
func parseReach(text string, places []place) []position {
	reach := make([]position, len(places))
	for field := range strings.FieldsSeq(text) {
		name, at, _ := strings.Cut(field, ":")
		p, ok := parsePosition(at)
		for i := range places {
			if ok && name == places[i].String() {
				reach[i] = p
			}
		}
	}
	return reach
}

func parsePosition(text string) (p position, ok bool) {
	seq, rest, _ := strings.Cut(text, ".")
	tick, index, _ := strings.Cut(rest, ".")
	var err1, err2, err3 error
	p.seq, err1 = strconv.ParseUint(seq, 10, 64)
	p.tick, err2 = strconv.ParseInt(tick, 10, 64)
	n, err3 := strconv.ParseUint(index, 10, 32)
	p.index = uint32(n)
	return p, err1 == nil && err2 == nil && err3 == nil
}
