package event

import (
	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// What is set or removed here is gone from the encoded event, not just hidden behind what is appended: it may be what nobody
// is to see.

// Map is one of the maps of an event.
type Map uint32

// The maps.
const (
	AttributesMap Map = wire.FieldAttributes
	ResourceMap   Map = wire.FieldResource
	ExtensionsMap Map = wire.FieldExtensions
)

// Get returns the value of a key: the last one, when there are several.
func (e *Event) Get(m Map, key string) (v Value, ok bool) { return e.lookUp(uint32(m), key) }

// Set replaces the value of a key, or adds it.
func (e *Event) Set(m Map, key string, v Value) {
	e.Unset(m, key)
	var s scratch
	e.AppendEncoded(AppendKeyValue(s[:0], protowire.Number(m), key, v))
}

// PrepareEntry makes ready what SetEntry sets.
func PrepareEntry(m Map, key string, v Value) (*Prepared, error) {
	return Prepare(AppendKeyValue(nil, protowire.Number(m), key, v))
}

// SetEntry is Set with what PrepareEntry has made of m, key and a value. The event shares p where it can.
func (e *Event) SetEntry(m Map, key string, p *Prepared) {
	e.Unset(m, key)
	e.AppendPrepared(p)
}

// Unset removes a key, however often it is there.
func (e *Event) Unset(m Map, key string) {
	if _, ok := e.lookUp(uint32(m), key); !ok {
		return
	}
	e.drop(uint32(m), func(pair []byte) bool {
		k, _ := keyValue(pair)
		return k == key
	})
}

// SetID replaces the id. It is for new events that are made of this one.
func (e *Event) SetID(s string) { e.setText(wire.FieldID, s, &e.ID) }

// SetType replaces the type; what is empty is unset, there and below.
func (e *Event) SetType(s string) { e.setText(wire.FieldType, s, &e.Type) }

// SetSubject replaces the subject.
func (e *Event) SetSubject(s string) { e.setText(wire.FieldSubject, s, &e.Subject) }

// SetBody replaces the body.
func (e *Event) SetBody(s string) { e.setText(wire.FieldBody, s, &e.Body) }

func (e *Event) setText(num uint32, s string, view *string) {
	e.replace(num)
	*view = ""
	if s == "" {
		return
	}
	var b scratch
	e.AppendEncoded(wire.AppendText(b[:0], protowire.Number(num), s))
}

// drop removes each occurrence of field num, a message, that which says so.
func (e *Event) drop(num uint32, which func([]byte) bool) {
	e.unshare()
	if e.lead != nil && e.lead.present&(1<<num) != 0 {
		e.unlead()
	}
	e.raw, e.patch = e.keep(e.raw, num, which), e.keep(e.patch, num, which)
	e.tail, e.head, e.early = 0, -1, false
}
