package enrich

import (
	"cmp"
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
		own := roleOf(ref.Role)
		if own == roleOther {
			continue
		}
		for i := range min(len(e.references), 64) {
			if r := &e.references[i]; r.role == own && (r.is(&ref) || own == roleWorkload && !e.isBelow(&ref)) {
				references |= 1 << i
			}
		}
	}
	return attributes, references
}

// isBelow tells whether what an event calls its workload is only on the way to the topmost one: a
// ReplicaSet or Job whose owner the sender did not know. Any other workload is the event's own word,
// which is not contradicted.
func (e *entry) isBelow(workload *event.EntityRef) bool {
	for i := range e.references {
		if r := &e.references[i]; r.role == roleOwner && r.is(workload) {
			return true
		}
	}
	return false
}

// parts are what an entry appends, cut in two, since the sources of a pod's events say different
// things themselves: what none of them says is common to all its events, and stands once in a frame.
type parts struct {
	// attributes and references are those that some event said itself.
	attributes, references mask
	common                 *event.Prepared
	rests                  []rest
}

// rest is what of the rest is appended to events that have some of its attributes and references.
type rest struct {
	attributes, references mask
	fields                 *event.Prepared
}

// maxRests bounds what one entry keeps.
const maxRests = 16

// contextFor is what kubernetes appends to an event: what the event does not say itself. more is nil
// when that is all.
func (e *entry) contextFor(ev *event.Event) (common, more *event.Prepared) {
	if e.facts == nil {
		return e.whole, nil
	}
	attributes, references := e.known(ev)
	p := e.parts.Load()
	if p == nil {
		p = &parts{common: e.whole}
	}
	if attributes&^p.attributes != 0 || references&^p.references != 0 {
		// The first event that says these. What goes on with the parts before is complete too.
		p = &parts{attributes: attributes | p.attributes, references: references | p.references}
		p.common = prepare(e.without(p.attributes, p.references))
		e.parts.Store(p)
	}
	if attributes == p.attributes && references == p.references {
		return p.common, nil
	}
	for i := range p.rests {
		if r := &p.rests[i]; r.attributes == attributes && r.references == references {
			return p.common, r.fields
		}
	}
	made := rest{attributes, references, prepare(e.only(p.attributes&^attributes, p.references&^references, false))}
	if len(p.rests) < maxRests { // what another goroutine adds meanwhile may be made again
		more := *p
		more.rests = append(slices.Clone(p.rests), made)
		e.parts.CompareAndSwap(p, &more)
	}
	return p.common, made.fields
}

// without encodes the entry without some attributes and references.
func (e *entry) without(attributes, references mask) []byte {
	return append(e.only(^attributes, ^references, true), e.encoded[e.contextEnd():]...)
}

// contextEnd is where the attributes and references end.
func (e *entry) contextEnd() uint32 {
	switch {
	case len(e.references) > 0:
		return e.references[len(e.references)-1].end
	case len(e.attributes) > 0:
		return e.attributes[len(e.attributes)-1].end
	}
	return 0
}

// only encodes some attributes and references of the entry, and those beyond the first 64 if beyond.
func (e *entry) only(attributes, references mask, beyond bool) []byte {
	var b []byte
	from := uint32(0)
	for i := range e.attributes {
		end := e.attributes[i].end
		if attributes.has(i) || i >= 64 && beyond {
			b = append(b, e.encoded[from:end]...)
		}
		from = end
	}
	for i := range e.references {
		end := e.references[i].end
		if references.has(i) || i >= 64 && beyond {
			b = append(b, e.encoded[from:end]...)
		}
		from = end
	}
	return b
}

// completes fills in what an event's own reference lacks; ok is false when it lacks nothing. One
// thing is replaced: the hash that a kubelet gives as the uid of a static pod, which only itself knows
// as that. Pods are never found under another uid otherwise.
func completes(have, found event.EntityRef) (whole event.EntityRef, ok bool) {
	if have.UID != "" && have.Name != "" && (found.Kind != "Pod" || found.UID == have.UID) {
		return have, false
	}
	found.Cluster, found.Role = have.Cluster, have.Role
	found.UID, found.APIVersion = cmp.Or(found.UID, have.UID), cmp.Or(have.APIVersion, found.APIVersion)
	return found, found != have
}
