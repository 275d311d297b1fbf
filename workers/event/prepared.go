package event

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// Prepared are encoded fields that many events have in common: what AppendEncoded would
// find out about them each time is found out once. They do not change and may be used from
// several goroutines.
type Prepared struct {
	encoded []byte
	present uint64
	// view says that fields of the view are among them, which then is read anew.
	view bool
	// source is the view of an event that they lead; nil = it is not read yet.
	source *source
	memo   atomic.Pointer[memo]
	// Number is for frame.Writer: the number in the frame that was written last, a guess for the next event.
	Number atomic.Uint32
}

// Encoded are the prepared fields; they must not be changed.
func (p *Prepared) Encoded() []byte { return p.encoded }

// source is the view of where an event comes from.
type source struct {
	source, typ, subject, partitionKey string
	entity                             EntityRef
	// head is the whole view where there is more to it.
	head *Event
}

// viewFields are the fields that the view shows; a signal changes the view too.
const viewFields = 1<<wire.FieldID | 1<<wire.FieldSource | 1<<wire.FieldType | 1<<wire.FieldSubject |
	1<<wire.FieldTime | 1<<wire.FieldObservedTime | 1<<wire.FieldIngestTime | 1<<wire.FieldSeverity |
	1<<wire.FieldPartitionKey | 1<<wire.FieldTraceID | 1<<wire.FieldSpanID | 1<<wire.FieldParentSpanID | 1<<wire.FieldTraceFlags | 1<<wire.FieldEntity | 1<<wire.FieldBody | 1<<wire.FieldCount |
	(1<<(wire.LastSignal+1) - 1<<wire.FirstSignal)

// Prepare makes encoded fields of millrace.event.v1.Event ready for AppendPrepared. They
// are kept, not copied. It fails when they are malformed.
func Prepare(encoded []byte) (*Prepared, error) {
	var e Event
	if err := e.read(encoded, false); err != nil {
		return nil, fmt.Errorf("prepare fields: %w", err)
	}
	return &Prepared{encoded: encoded, present: e.present, view: e.present&viewFields != 0}, nil
}

// repeatedFields are those of which an event may have several, in any order.
const repeatedFields = 1<<wire.FieldRelated | 1<<wire.FieldResource | 1<<wire.FieldEnrichment | 1<<wire.FieldSpanLinks

// AppendPrepared appends prepared fields, as AppendEncoded does. The event shares p where it
// can, and so do the frames it is written to.
func (e *Event) AppendPrepared(p *Prepared) {
	switch {
	case len(p.encoded) == 0:
		return
	case p.view:
		e.AppendEncoded(p.encoded)
		return
	// Behind raw, but before the patch, and not in place of what came (Event.whole).
	case e.sharing < maxShared && e.sharing >= e.came && (len(e.patch) == 0 || e.present&p.present&^repeatedFields == 0):
		e.shared[e.sharing] = p
		e.sharing++
	default:
		e.unshare()
		e.patchWith(p.encoded)
		e.own |= p.present
	}
	e.present |= p.present
}

// SetPrepared appends prepared fields in place of what the event has of them, as far as it has one of each.
func (e *Event) SetPrepared(p *Prepared) {
	for both := e.present & p.present &^ repeatedFields; both != 0; both &= both - 1 {
		e.replace(uint32(bits.TrailingZeros64(both)))
	}
	e.AppendPrepared(p)
}

// memo is what somebody found out about prepared fields.
type memo struct {
	owner, value any
	next         *memo
}

// Memo returns what Remember kept under owner; nil when there is nothing.
func (p *Prepared) Memo(owner any) any {
	for m := p.memo.Load(); m != nil; m = m.next {
		if m.owner == owner {
			return m.value
		}
	}
	return nil
}

// Remember keeps what owner (a pointer, or the zero value of a type of its own) found out about p, in place of what it kept before, for
// as long as p is used. Where several goroutines remember at once, some of it may be forgotten.
func (p *Prepared) Remember(owner, value any) {
	before := p.memo.Load()
	first := &memo{owner: owner, value: value}
	for m := before; m != nil; m = m.next {
		if m.owner != owner {
			first.next = &memo{m.owner, m.value, first.next}
		}
	}
	p.memo.CompareAndSwap(before, first)
}
