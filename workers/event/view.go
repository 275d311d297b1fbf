package event

import (
	"fmt"
	"math/bits"
)

// Field numbers of millrace.event.v1.Event.
const (
	fieldID           = 1
	fieldSource       = 2
	fieldType         = 3
	fieldSubject      = 4
	fieldTime         = 5
	fieldObservedTime = 6
	fieldIngestTime   = 7
	fieldSeverity     = 8
	fieldSeverityText = 9
	fieldPartitionKey = 10
	fieldTraceID      = 11
	fieldSpanID       = 12
	fieldParentSpanID = 13
	fieldTraceFlags   = 14
	fieldTraceState   = 15
	fieldEntity       = 16
	fieldRelated      = 17
	fieldBody         = 18
	fieldCount        = 19
	fieldFingerprint  = 20
	fieldResource     = 21
	fieldAttributes   = 22

	fieldMetric     = 24
	fieldLog        = 25
	fieldKubernetes = 26
	fieldNetwork    = 27
	fieldKernel     = 28
	fieldSpan       = 29
	firstSignal     = fieldMetric
	lastSignal      = 32

	fieldSemantic    = 40
	fieldImpact      = 41
	fieldCorrelation = 42
	fieldEnrichment  = 43
	fieldSpanLinks   = 44

	fieldDataContentType = 50
	fieldDataSchema      = 51
	fieldData            = 52
	fieldExtensions      = 53
)

// tailField is where the fields begin that the view does not show: getters skip what stands
// before the first of them.
const tailField = fieldRelated

// read takes the fields of the view from b, over what the view has already. It checks that
// b is a sequence of well-formed fields and that what the view shows is valid UTF-8;
// nested messages are only checked when they are read. Trusted strings are not checked again.
func (e *Event) read(b []byte, trusted bool) error {
	f := fields{rest: b, trusted: trusted}
	for at := len(b); f.next(); at = len(f.rest) {
		if f.num < 64 {
			e.present |= 1 << f.num
		}
		if e.tail < 0 && f.num >= tailField {
			e.tail = len(b) - at
		}
		if f.num <= lastHeadField {
			e.head = len(b) - len(f.rest)
		}
		var ok bool
		switch f.wire {
		case wireBytes:
			ok = e.readBytes(&f)
		case wireFixed64:
			ok = e.readTime(&f)
		default:
			ok = e.readNumber(&f)
		}
		if !ok {
			return fmt.Errorf("field %d of the event is not valid: a string is not UTF-8 or a nested message is malformed", f.num)
		}
	}
	if f.bad {
		return errWire
	}
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
	return err
}

// lastHeadField is the last field of the view, signals aside.
const lastHeadField = fieldCount

// signalFields are the bits of the signals, of which an event has one.
const signalFields = 1<<(lastSignal+1) - 1<<firstSignal

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
	if signal != 0 {
		e.signal = uint32(bits.TrailingZeros64(signal))
	}
	return nil
}

func (e *Event) readBytes(f *fields) (ok bool) {
	ok = true
	switch f.num {
	case fieldID:
		e.ID, ok = f.checked()
	case fieldSource:
		e.Source, ok = f.checked()
	case fieldType:
		e.Type, ok = f.checked()
	case fieldSubject:
		e.Subject, ok = f.checked()
	case fieldPartitionKey:
		e.PartitionKey, ok = f.checked()
	case fieldTraceID:
		e.TraceID = sized(f.v, 16)
	case fieldSpanID:
		e.SpanID = sized(f.v, 8)
	case fieldParentSpanID:
		e.parentSpan = sized(f.v, 8)
	case fieldEntity:
		ok = readEntity(&e.Entity, f.v, f.trusted)
	case fieldBody:
		e.Body, ok = f.checked()
	default:
		if f.num >= firstSignal && f.num <= lastSignal {
			e.signal = f.num
		}
	}
	return ok
}

func (e *Event) readTime(f *fields) bool {
	switch f.num {
	case fieldTime:
		e.Time = f.nanos()
	case fieldObservedTime:
		e.ObservedTime = f.nanos()
	case fieldIngestTime:
		e.IngestTime = f.nanos()
	}
	return true
}

func (e *Event) readNumber(f *fields) bool {
	if f.wire != wireVarint {
		return true
	}
	switch f.num {
	case fieldSeverity:
		e.Severity = int32(f.n)
	case fieldCount:
		e.Count = uint32(f.n)
	case fieldTraceFlags:
		e.traceFlags = uint32(f.n)
	}
	return true
}

func sized(b []byte, n int) []byte {
	if len(b) != n {
		return nil
	}
	return b
}

func readEntity(r *EntityRef, b []byte, trusted bool) bool {
	f := fields{rest: b, trusted: trusted}
	ok := true
	for ok && f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case 1:
			r.Kind, ok = f.checked()
		case 2:
			r.Namespace, ok = f.checked()
		case 3:
			r.Name, ok = f.checked()
		case 4:
			r.UID, ok = f.checked()
		case 5:
			r.APIVersion, ok = f.checked()
		case 6:
			r.Cluster, ok = f.checked()
		case 7:
			r.Role, ok = f.checked()
		}
	}
	return ok && !f.bad
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
		f := fields{rest: b}
		for f.next() {
			if f.is(num, wireBytes) {
				s = f.text()
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
		f := fields{rest: b}
		for f.next() {
			if f.is(num, wireBytes) && !yield(f.v) {
				return
			}
		}
	}
}
