package event

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// Most of an event says where it comes from, and many events come from there. A lead are the
// fields that say so, apart from the event: they are read once, stand once in a frame, and
// what a stage finds out by them it finds out once (Prepared.Memo).

// leadFields are the fields of a lead. A subject belongs to it where it names the entity; of
// a connection, say, it names each one.
const leadFields = 1<<wire.FieldSource | 1<<wire.FieldType | 1<<wire.FieldPartitionKey | 1<<wire.FieldEntity | 1<<wire.FieldRelated | 1<<wire.FieldResource

// minLead is the size from which it is worth to keep a lead apart.
const minLead = 48

// Lead returns the lead of the event when it is all that says where the event comes from: its
// source, type, partition key, entity, related references and resource. nil otherwise.
func (e *Event) Lead() *Prepared {
	if e.lead == nil || e.own&leadFields != 0 {
		return nil
	}
	for _, p := range e.shared[:e.sharing] {
		if p.present&leadFields != 0 {
			return nil
		}
	}
	return e.lead
}

// SetLead replaces the lead by another one, whose fields must be at least those of the present
// one.
func (e *Event) SetLead(p *Prepared) {
	e.lead = p
	e.present |= p.present
	s := p.source
	e.Source, e.Type, e.PartitionKey, e.Entity = s.source, s.typ, s.partitionKey, s.entity
	if p.present&(1<<wire.FieldSubject) != 0 {
		e.Subject = s.subject
	}
}

// LeadWith returns a lead of the fields of p and, behind them, others.
func (p *Prepared) LeadWith(encoded []byte) (*Prepared, error) {
	return prepareLead(append(append(make([]byte, 0, len(p.encoded)+len(encoded)), p.encoded...), encoded...))
}

// EncodedEntity encodes r as what an event is about.
func EncodedEntity(r EntityRef) []byte { return appendRef(nil, wire.FieldEntity, &r) }

// AppendPartitionKey encodes the partition key of an event.
func AppendPartitionKey(b []byte, key string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, wire.FieldPartitionKey, protowire.BytesType), key)
}

// prepareLead prepares encoded fields, which it keeps, as a lead.
func prepareLead(encoded []byte) (*Prepared, error) {
	p, err := Prepare(encoded)
	if err != nil {
		return nil, err
	}
	p.readHead()
	return p, nil
}

func (p *Prepared) readHead() {
	e := &Event{}
	_ = e.read(p.encoded, true) // Prepare has read them
	e.present = 0
	p.source = &source{e.Source, e.Type, e.Subject, e.PartitionKey, e.Entity, nil}
	if p.present&viewFields&^(leadFields|1<<wire.FieldSubject) != 0 {
		p.source.head = e
	}
}

// follow begins an event that is led by p.
func (e *Event) follow(p *Prepared) {
	if p.source == nil {
		p.readHead()
	}
	if s := p.source; s.head != nil {
		*e = *s.head
	} else {
		e.Source, e.Type, e.Subject, e.PartitionKey, e.Entity = s.source, s.typ, s.subject, s.partitionKey, s.entity
	}
	e.lead, e.cameLed = p, p
}

// unlead copies the lead into raw.
func (e *Event) unlead() {
	p := e.lead
	e.raw = append(append(e.room(len(p.encoded)+len(e.raw)), p.encoded...), e.raw...)
	e.lead = nil
	e.own |= p.present
	e.tail, e.head, e.early = 0, -1, false
}

// maxRuns bounds into how many pieces a lead may be scattered.
const maxRuns = 8

// run is a part of an encoded event, from one byte to another.
type run struct{ from, to int }

// Lift takes the lead out of an event that was read whole, when others came from there before.
func (c *Contexts) Lift(e *Event) {
	lead := uint64(leadFields)
	if e.Entity.Name != "" && strings.HasSuffix(e.Subject, e.Entity.Name) {
		lead |= 1 << wire.FieldSubject
	}
	if e.present&lead == 0 || len(e.patch) > 0 || e.sharing > 0 {
		return
	}
	// The runs of fields of the lead, and where the others will stand.
	var runs [maxRuns]run
	n, size := 0, 0
	head, tail := 0, -1
	for at := 0; at < len(e.raw); {
		num, _, _, _, to := wire.Field(e.raw, at)
		from := at
		at = to
		switch {
		case to == 0:
			return
		case num < 64 && lead&(1<<num) != 0:
			size += to - from
			if n > 0 && runs[n-1].to == from {
				runs[n-1].to = to
				continue
			}
			if n == maxRuns {
				return
			}
			runs[n] = run{from, to}
			n++
		case num <= lastHeadField:
			head = to - size
		case tail < 0 && num >= tailField:
			tail = from - size
		}
	}
	if size < minLead {
		return
	}
	c.lead = c.lead[:0]
	for _, r := range runs[:n] {
		c.lead = append(c.lead, e.raw[r.from:r.to]...)
	}
	p := c.often(c.lead)
	if p == nil {
		return
	}
	own := e.room(len(e.raw) - size)
	at := 0
	for _, r := range runs[:n] {
		own = append(own, e.raw[at:r.from]...)
		at = r.to
	}
	e.raw = append(own, e.raw[at:]...)
	if tail < 0 {
		tail = len(e.raw)
	}
	e.lead, e.head, e.tail = p, head, tail
	e.own &^= p.present
}
