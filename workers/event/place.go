package event

import "millrace.dev/millrace/workers/event/internal/wire"

// placeFields say where an event comes from, and what it concerns.
const placeFields = 1<<wire.FieldEntity | 1<<wire.FieldRelated | 1<<wire.FieldResource

const (
	// maxPlace is how many of the shared fields behind an event name a place: enrich appends two.
	maxPlace = 2
	// maxPlaceBytes bounds those fields: who remembers a place keeps them in memory, also when the decoder has forgotten them.
	maxPlaceBytes = 8 << 10
)

// Place stands for the entity, the related references and the resource of an event, where the event shares all of them with others: events of equal places
// have the same ones, in the same order. A stage keeps what it found out about a place with the lead (Prepared.Remember), so it finds it out once. Beside
// the lead, a place keeps at most two prepared fields, of 8 KiB together, in memory.
type Place struct {
	Lead   *Prepared
	behind [maxPlace]*Prepared
}

// Place returns the place of the event. ok is false where some of what says it is of the event alone, where that is too much, or where the event has no lead.
func (e *Event) Place() (p Place, ok bool) {
	if e.lead == nil || e.own&placeFields != 0 {
		return p, false
	}
	n, size := 0, 0
	for _, s := range e.shared[:e.sharing] {
		if s.present&placeFields == 0 {
			continue
		}
		if size += len(s.encoded); n == maxPlace || size > maxPlaceBytes {
			return p, false
		}
		p.behind[n] = s
		n++
	}
	p.Lead = e.lead
	return p, true
}
