package event

import "fmt"

// Prepared are encoded fields that are appended to many events: what AppendEncoded would
// find out about them each time is found out once.
type Prepared struct {
	encoded []byte
	present uint64
	// view says that fields of the view are among them, which then is read anew.
	view bool
}

// viewFields are the fields that the view shows; a signal changes the view too.
const viewFields = 1<<fieldID | 1<<fieldSource | 1<<fieldType | 1<<fieldSubject |
	1<<fieldTime | 1<<fieldObservedTime | 1<<fieldIngestTime | 1<<fieldSeverity |
	1<<fieldPartitionKey | 1<<fieldTraceID | 1<<fieldSpanID | 1<<fieldParentSpanID | 1<<fieldTraceFlags | 1<<fieldEntity | 1<<fieldBody | 1<<fieldCount |
	(1<<(lastSignal+1) - 1<<firstSignal)

// Prepare makes encoded fields of millrace.event.v1.Event ready for AppendPrepared. They
// are kept, not copied. It fails when they are malformed.
func Prepare(encoded []byte) (Prepared, error) {
	var e Event
	if err := e.read(encoded, false); err != nil {
		return Prepared{}, fmt.Errorf("prepare fields: %w", err)
	}
	return Prepared{encoded: encoded, present: e.present, view: e.present&viewFields != 0}, nil
}

// repeatedFields are those of which an event may have several, in any order.
const repeatedFields = 1<<fieldRelated | 1<<fieldResource | 1<<fieldEnrichment | 1<<fieldSpanLinks

// AppendPrepared appends prepared fields, as AppendEncoded does. The event shares p where it
// can, and so do the frames it is written to: p must not be changed any more.
func (e *Event) AppendPrepared(p *Prepared) {
	switch {
	case len(p.encoded) == 0:
		return
	case p.view:
		e.AppendEncoded(p.encoded)
		return
	// Behind raw, but before the patch.
	case e.sharing < maxShared && (len(e.patch) == 0 || e.present&p.present&^repeatedFields == 0):
		e.shared[e.sharing] = p
		e.sharing++
	default:
		e.unshare()
		e.patchWith(p.encoded)
	}
	e.present |= p.present
}
