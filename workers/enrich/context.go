package enrich

import (
	"math/bits"
	"slices"

	"millrace.dev/millrace/workers/event"
)

// mask has a bit for each of the first 64 attributes or references of an entry.
type mask uint64

func (m mask) has(i int) bool { return i < 64 && m&(1<<i) != 0 }

// known tells which of the entry's attributes and references the event has itself.
func (e *entry) known(ev *event.Event) (attributes, references mask) {
	for key := range ev.ResourceKeys {
		for left := e.lengths[len(key)%len(e.lengths)]; left != 0; left &= left - 1 {
			if i := bits.TrailingZeros64(uint64(left)); e.attributes[i].key == key {
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

// rest is what an entry appends to events that have some of its attributes and references.
type rest struct {
	attributes, references mask
	fields                 *event.Prepared
}

// maxRests bounds what one entry keeps.
const maxRests = 16

// restFor returns what an event does not have that has these attributes and references.
func (e *entry) restFor(attributes, references mask) *event.Prepared {
	have := e.rests.Load()
	if have != nil {
		for i := range *have {
			if r := &(*have)[i]; r.attributes == attributes && r.references == references {
				return r.fields
			}
		}
	}
	fields := prepare(e.without(attributes, references))
	made := rest{attributes, references, &fields}
	if have == nil {
		e.rests.CompareAndSwap(nil, &[]rest{made})
	} else if len(*have) < maxRests { // what another goroutine adds meanwhile may be made again
		more := append(slices.Clone(*have), made)
		e.rests.CompareAndSwap(have, &more)
	}
	return &fields
}

// without encodes the entry without some attributes and references.
func (e *entry) without(attributes, references mask) []byte {
	var b []byte
	from := uint32(0)
	for i := range e.attributes {
		end := e.attributes[i].end
		if !attributes.has(i) {
			b = append(b, e.encoded[from:end]...)
		}
		from = end
	}
	for i := range e.references {
		end := e.references[i].end
		if !references.has(i) {
			b = append(b, e.encoded[from:end]...)
		}
		from = end
	}
	return append(b, e.encoded[from:]...)
}

// completes fills in what an event's own reference lacks; ok is false when it lacks nothing.
func completes(have, found event.EntityRef) (whole event.EntityRef, ok bool) {
	if have.UID != "" && have.Name != "" {
		return have, false
	}
	found.Cluster, found.Role = have.Cluster, have.Role
	return found, found != have
}
