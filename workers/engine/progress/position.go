package progress

import (
	"cmp"
	"strconv"
	"strings"
)

// Position is a place in what a lane makes of one input: everything up to it has been made.
type Position struct {
	// Seq is the stream sequence of an input message.
	Seq uint64
	// Tick is the stream time, in Unix milliseconds, of a flush after that message; 0 = the message itself.
	Tick int64
	// Index counts what the message or the flush led to; for a received event it is its place
	// in the message.
	Index uint32
}

// maxSeconds is more than any time in Unix seconds of a flush, and less than any in milliseconds.
const maxSeconds = 1e11

// FinalTick is the tick of the final flush, behind all others.
const FinalTick = 1 << 60

// Compare orders positions: -1 when p is before q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Seq, q.Seq), cmp.Compare(p.Tick, q.Tick), cmp.Compare(p.Index, q.Index))
}

// Advance moves each of at on to where to stands, if that is further.
func Advance(at, to []Position) []Position {
	for i, p := range to {
		if p.After(at[i]) {
			at[i] = p
		}
	}
	return at
}

// After says whether p is behind q.
func (p Position) After(q Position) bool { return p.Compare(q) > 0 }

// ProducedIndex is the index of the first new event that a stage made of one message, by its
// depth in the chain; so what a stage receives stands before what it makes.
func ProducedIndex(depth int) uint32 { return uint32(depth+1) << 26 }

// Place names an input in a header: the port it comes from, and which stream of that name
// it was. A stream that was deleted and made again begins to count anew.
type Place struct{ From, Stream string }

// String is the form in headers.
func (p Place) String() string { return p.From + "@" + p.Stream }

// AppendReach encodes how far an output reaches into each input: from@stream:seq.tick.index,
// separated by spaces. Inputs that it does not reach into are left out.
func AppendReach(b []byte, places []Place, reach []Position) []byte {
	start := len(b)
	for i, p := range reach {
		if p == (Position{}) {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(append(append(append(b, places[i].From...), '@'), places[i].Stream...), ':')
		b = append(strconv.AppendUint(b, p.Seq, 10), '.')
		b = append(strconv.AppendInt(b, written(p.Tick), 10), '.')
		b = strconv.AppendUint(b, uint64(p.Index), 10)
	}
	return b
}

// written is the form of a tick in headers: whole seconds, as releases read and wrote them that flushed at these alone, else milliseconds.
func written(tick int64) int64 {
	if tick%1000 == 0 {
		return tick / 1000
	}
	return tick
}

// ParseReach decodes what AppendReach wrote. Inputs that are not among places, and what is
// malformed, count as not reached.
func ParseReach(text string, places []Place) []Position {
	reach := make([]Position, len(places))
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

func parsePosition(text string) (p Position, ok bool) {
	seq, rest, _ := strings.Cut(text, ".")
	tick, index, _ := strings.Cut(rest, ".")
	var err1, err2, err3 error
	p.Seq, err1 = strconv.ParseUint(seq, 10, 64)
	p.Tick, err2 = strconv.ParseInt(tick, 10, 64)
	n, err3 := strconv.ParseUint(index, 10, 32)
	p.Index = uint32(n)
	if p.Tick < maxSeconds {
		p.Tick *= 1000
	}
	return p, err1 == nil && err2 == nil && err3 == nil
}

// Reached is how far an output reaches into an input, as its header says.
type Reached struct {
	Place
	Position
}

// ReadReach decodes what AppendReach wrote, for a reader that does not know the inputs. What is malformed is left out.
func ReadReach(text string) (all []Reached) {
	for field := range strings.FieldsSeq(text) {
		name, at, _ := strings.Cut(field, ":")
		if p, ok := parsePosition(at); ok {
			all = append(all, Reached{readPlace(name), p})
		}
	}
	return all
}

// readPlace reads what Place.String wrote. No name of a port has the sign.
func readPlace(name string) Place {
	from, stream, _ := strings.Cut(name, "@")
	return Place{from, stream}
}
