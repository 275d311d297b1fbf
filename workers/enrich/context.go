package enrich

import "millrace.dev/millrace/workers/event"

// mask has a bit for each of the first 64 attributes or references of an entry.
type mask uint64

func (m mask) has(i int) bool { return i < 64 && m&(1<<i) != 0 }

// known tells which of the entry's attributes and references the event has itself.
func (e *entry) known(ev *event.Event) (attributes, references mask) {
	for key := range ev.Resources {
		for i := range min(len(e.attributes), 64) {
			if e.attributes[i].key == key {
				attributes |= 1 << i
			}
		}
	}
	for ref := range ev.RelatedRefs {
		for i := range min(len(e.references), 64) {
			if e.references[i].is(&ref) {
				references |= 1 << i
			}
		}
	}
	return attributes, references
}

// appendRest appends what the event does not have, in as few pieces as there are.
func (e *entry) appendRest(ev *event.Event, attributes, references mask) {
	begin, from := uint32(0), uint32(0) // of the piece, of the attribute or reference
	skip := func(known bool, end uint32) {
		if known {
			if begin < from {
				ev.AppendEncoded(e.encoded[begin:from])
			}
			begin = end
		}
		from = end
	}
	for i := range e.attributes {
		skip(attributes.has(i), e.attributes[i].end)
	}
	for i := range e.references {
		skip(references.has(i), e.references[i].end)
	}
	ev.AppendEncoded(e.encoded[begin:])
}

// completes fills in what an event's own reference lacks; ok is false when it lacks nothing.
func completes(have, found event.EntityRef) (whole event.EntityRef, ok bool) {
	if have.UID != "" && have.Name != "" {
		return have, false
	}
	found.Cluster, found.Role = have.Cluster, have.Role
	return found, found != have
}
