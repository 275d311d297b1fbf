package chain

import (
	"slices"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// memory is that of one message while it is processed.
type memory struct {
	// decoders are by input: those that stages fill share one, the others another.
	decoders []*decode.Decoder
	events   []event.Event
	copies   []copies // by node
}

// copies are events that a chain passes on beside those of the message.
type copies struct {
	kept  []event.Event // what goes on behind the node, when it is not all
	forks []event.Event // what the node is given, when others are given the same
}

func (h *memory) empty() {
	for _, d := range h.decoders {
		d.Reset()
	}
	h.events = emptied(h.events)
}

// held is how much memory the events in hand take, in bytes, messages apart.
func (h *memory) held() (bytes int) {
	for i, d := range h.decoders {
		if slices.Index(h.decoders, d) == i {
			bytes += d.Held()
		}
	}
	return bytes
}

// decode decodes m behind the events in hand.
func (h *memory) decode(m *Message) (bad []decode.Undecodable, known Measure) {
	if m.Outside {
		return nil, known
	}
	lo := len(h.events)
	h.events, bad = h.decoders[m.Input].Decode(h.events, m.Message)
	known.Events = len(h.events) - lo + len(bad)
	known.Marker = known.Events == 0 && IsMarker(m.Header)
	if len(h.events) > lo {
		known.Ingest = h.events[lo].IngestTime
	}
	return bad, known
}
