package event

import (
	"fmt"
	"math/bits"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// tailField is where the fields begin that the view does not show: getters skip what stands
// before the first of them.
const tailField = wire.FieldRelated

// read takes the fields of the view from b, over what the view has already. It checks that
// b is a sequence of well-formed fields and that what the view shows is valid UTF-8;
// nested messages are only checked when they are read. Trusted strings are not checked again.
func (e *Event) read(b []byte, trusted bool) error {
	present, head := e.present, e.head
	for i := 0; i < len(b); {
		num, typ, n, from, to := wire.Field(b, i)
		if to == 0 {
			return wire.ErrMalformed
		}
		if num < 64 {
			present |= 1 << num
		}
		if e.tail < 0 && num >= tailField {
			e.tail = i
		}
		if num <= lastHeadField {
			head = to
		}
		i = to
		switch typ {
		case wire.BytesType:
			if !e.readBytes(num, b[from:to:to], trusted) {
				return fmt.Errorf("field %d of the event is not valid: a string is not UTF-8 or a nested message is malformed", num)
			}
		case wire.Fixed64Type:
			e.readTime(num, int64(n))
		case wire.VarintType:
			e.readNumber(num, n)
		}
	}
	e.present, e.head = present, head
	if e.Count == 0 {
		e.Count = 1
	}
	return nil
}

// readRaw reads the view from b, the encoded event as it came.
func (e *Event) readRaw(b []byte, trusted bool) error {
	e.tail, e.head = -1, 0
	err := e.read(b, trusted)
	if e.tail < 0 {
		e.tail = len(b)
	}
	e.own = e.present
	return err
}

// lastHeadField is the last field of the view, signals aside.
const lastHeadField = wire.FieldCount

// signalFields are the bits of the signals, of which an event has one.
const signalFields = 1<<(wire.LastSignal+1) - 1<<wire.FirstSignal

// readHead reads the view from the first head bytes of b, as the hints of a frame allow: what
// follows is read when it is looked for. It reads all of b where the hints do not say enough. Who
// wrote the hints has read these fields, so they are trusted.
func (e *Event) readHead(b []byte, present uint64, head int) error {
	signal := present & signalFields
	if present == 0 || head <= 0 || head > len(b) || signal&(signal-1) != 0 {
		return e.readRaw(b, false)
	}
	if err := e.readRaw(b[:head], true); err != nil {
		return err
	}
	e.present |= present
	e.own = e.present
	if signal != 0 {
		e.signal = uint32(bits.TrailingZeros64(signal))
	}
	return nil
}

func (e *Event) readBytes(num uint32, v []byte, trusted bool) (ok bool) {
	ok = true
	switch num {
	case wire.FieldID:
		e.ID, ok = wire.Checked(v, trusted)
	case wire.FieldSource:
		e.Source, ok = wire.Checked(v, trusted)
	case wire.FieldType:
		e.Type, ok = wire.Checked(v, trusted)
	case wire.FieldSubject:
		e.Subject, ok = wire.Checked(v, trusted)
	case wire.FieldPartitionKey:
		e.PartitionKey, ok = wire.Checked(v, trusted)
	case wire.FieldTraceID:
		e.TraceID = sized(v, 16)
	case wire.FieldSpanID:
		e.SpanID = sized(v, 8)
	case wire.FieldParentSpanID:
		e.parentSpan = sized(v, 8)
	case wire.FieldEntity:
		ok = readEntity(&e.Entity, v, trusted)
	case wire.FieldBody:
		e.Body, ok = wire.Checked(v, trusted)
	default:
		if num >= wire.FirstSignal && num <= wire.LastSignal {
			e.signal = num
		}
	}
	return ok
}

func (e *Event) readTime(num uint32, at int64) {
	switch num {
	case wire.FieldTime:
		e.Time = at
	case wire.FieldObservedTime:
		e.ObservedTime = at
	case wire.FieldIngestTime:
		e.IngestTime = at
	}
}

func (e *Event) readNumber(num uint32, n uint64) {
	switch num {
	case wire.FieldSeverity:
		e.Severity = int32(n)
	case wire.FieldCount:
		e.Count = uint32(n)
	case wire.FieldTraceFlags:
		e.traceFlags = uint32(n)
	}
}

func sized(b []byte, n int) []byte {
	if len(b) != n {
		return nil
	}
	return b
}

func readEntity(r *EntityRef, b []byte, trusted bool) bool {
	ok := true
	for i := 0; ok && i < len(b); {
		num, typ, _, from, to := wire.Field(b, i)
		if to == 0 {
			return false
		}
		i = to
		if typ != wire.BytesType {
			continue
		}
		v := b[from:to:to]
		switch num {
		case 1:
			r.Kind, ok = wire.Checked(v, trusted)
		case 2:
			r.Namespace, ok = wire.Checked(v, trusted)
		case 3:
			r.Name, ok = wire.Checked(v, trusted)
		case 4:
			r.UID, ok = wire.Checked(v, trusted)
		case 5:
			r.APIVersion, ok = wire.Checked(v, trusted)
		case 6:
			r.Cluster, ok = wire.Checked(v, trusted)
		case 7:
			r.Role, ok = wire.Checked(v, trusted)
		}
	}
	return ok
}

// may tells whether field num (< 64) can be in the event.
func (e *Event) may(num uint32) bool { return e.present&(1<<num) != 0 }

// part returns the i-th part of the encoded event, in the order in which protobuf merges them, as
// far as field num can be in it; ok is false behind the last one.
func (e *Event) part(i int, num uint32) (b []byte, ok bool) {
	switch {
	case i == 0:
		if e.lead == nil {
			return nil, true
		}
		return e.lead.part(num), true
	case i == 1:
		switch {
		case num > 0 && num < 64 && e.own&(1<<num) == 0:
			return nil, true
		case num >= tailField:
			return e.raw[e.tail:], true
		}
		return e.raw, true
	case i <= int(e.sharing)+1:
		return e.shared[i-2].part(num), true
	case i == int(e.sharing)+2:
		return e.patch, true
	}
	return nil, false
}

// part is what of p field num can be in; 0 = any field.
func (p *Prepared) part(num uint32) []byte {
	if num > 0 && num < 64 && p.present&(1<<num) == 0 {
		return nil
	}
	return p.encoded
}

// scalarText returns the last occurrence of a string field that is not in the view.
func (e *Event) scalarText(num uint32) (s string) {
	if !e.may(num) {
		return ""
	}
	for i := 0; ; i++ {
		b, ok := e.part(i, num)
		if !ok {
			return s
		}
		f := wire.Fields{Rest: b}
		for f.Next() {
			if f.Is(num, wire.BytesType) {
				s = f.Text()
			}
		}
	}
}

// each calls yield with every occurrence of a length-delimited field until it says false.
func (e *Event) each(num uint32, yield func([]byte) bool) {
	if !e.may(num) {
		return
	}
	for i := 0; ; i++ {
		b, ok := e.part(i, num)
		if !ok {
			return
		}
		f := wire.Fields{Rest: b}
		for f.Next() {
			if f.Is(num, wire.BytesType) && !yield(f.V) {
				return
			}
		}
	}
}
