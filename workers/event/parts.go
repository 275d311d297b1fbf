package event

import (
	"millrace.dev/millrace/workers/event/internal/arena"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// What the rooms beside this one need of an event: those that read make it of its parts, and those that
// write frames take it apart.

// Encoded returns what was encoded for the event alone, in two pieces: what it came with and what was appended.
// They are valid until it is changed.
func (e *Event) Encoded() (first, second []byte) {
	if e.early {
		return e.patch, e.raw
	}
	return e.raw, e.patch
}

// Shared returns what the event has in common with others, which stands before its own fields (lead; nil =
// nothing) and behind them.
func (e *Event) Shared() (lead *Prepared, behind []*Prepared) { return e.lead, e.shared[:e.sharing] }

// Hints are for readers that look at a few fields of Encoded: which fields it has, and where the last one ends
// that the view shows. Where head is below 1 there are none.
func (e *Event) Hints() (present uint64, head int) {
	if e.early {
		return e.own, e.head + len(e.patch)
	}
	return e.own, e.head
}

// Parts are what a frame says about an event, beside its own fields.
type Parts struct {
	Lead    *Prepared
	Shared  []*Prepared
	Present uint64
	Head    int
}

// Read makes e, which must be zero, the view of an encoded event, which it keeps. received are the
// bytes that the event came as, in this form. What is appended goes into memory; nil = the heap. Read fails when
// a field is malformed, or a string of the view is not UTF-8.
func (e *Event) Read(encoded, received []byte, form Form, memory *arena.Arena) error {
	e.raw, e.received, e.form, e.arena = encoded, received, form, memory
	return e.readRaw(encoded, false)
}

// ReadParts makes e, which must be zero, the view of an event of a frame: of its own fields, which it keeps, and what the
// frame says beside. It fails as Read does.
func (e *Event) ReadParts(own []byte, p *Parts, memory *arena.Arena) error {
	if len(p.Shared) > maxShared || anyView(p.Shared) {
		whole := p.merged(own, memory)
		return e.Read(whole, whole, FormFrame, memory)
	}
	if p.Lead != nil {
		e.follow(p.Lead)
	}
	e.raw, e.received, e.form, e.arena = own, own, FormFrame, memory
	err := e.readHead(own, p.Present, p.Head)
	if e.lead != nil {
		e.present |= e.lead.present
	}
	for _, s := range p.Shared {
		e.AppendPrepared(s)
	}
	e.came = e.sharing
	return err
}

// anyView says whether fields of the view are shared: a view cannot keep them apart from the event.
func anyView(shared []*Prepared) bool {
	for _, p := range shared {
		if p.view {
			return true
		}
	}
	return false
}

// merged makes one encoded event of its own fields and the parts.
func (p *Parts) merged(own []byte, memory *arena.Arena) []byte {
	size := len(own)
	if p.Lead != nil {
		size += len(p.Lead.encoded)
	}
	for _, s := range p.Shared {
		size += len(s.encoded)
	}
	whole := memory.Take(size)
	if p.Lead != nil {
		whole = append(whole, p.Lead.encoded...)
	}
	whole = append(whole, own...)
	for _, s := range p.Shared {
		whole = append(whole, s.encoded...)
	}
	return whole
}

// Ingested notes when the stream stored an event that has no ingest time, in Unix nanoseconds. encoded is
// that time (AppendIngestTime): the same bytes for all events of a message.
func (e *Event) Ingested(at int64, encoded []byte) {
	if e.may(wire.FieldIngestTime) { // 0 was written
		e.SetIngestTime(at)
		return
	}
	e.patch, e.IngestTime, e.early = encoded[:len(encoded):len(encoded)], at, true
	e.present |= 1 << wire.FieldIngestTime
	e.own |= 1 << wire.FieldIngestTime
}

// IngestSize is the size of an encoded ingest time.
const IngestSize = 9

// AppendIngestTime encodes an ingest time in Unix nanoseconds.
func AppendIngestTime(b []byte, at int64) []byte {
	return wire.AppendFixed(b, wire.FieldIngestTime, uint64(at))
}
