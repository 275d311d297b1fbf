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
// nested messages are only checked when they are read.
func (e *Event) read(b []byte) error {
	f := fields{rest: b}
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
func (e *Event) readRaw(b []byte) error {
	e.tail, e.head = -1, 0
	err := e.read(b)
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
// follows is read when it is looked for. It reads all of b where the hints do not say enough.
func (e *Event) readHead(b []byte, present uint64, head int) error {
	signal := present & signalFields
	if present == 0 || head <= 0 || head > len(b) || signal&(signal-1) != 0 {
		return e.readRaw(b)
	}
	if err := e.readRaw(b[:head]); err != nil {
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
		e.ID, ok = checked(f.v)
	case fieldSource:
		e.Source, ok = checked(f.v)
	case fieldType:
		e.Type, ok = checked(f.v)
	case fieldSubject:
		e.Subject, ok = checked(f.v)
	case fieldPartitionKey:
		e.PartitionKey, ok = checked(f.v)
	case fieldTraceID:
		e.TraceID = sized(f.v, 16)
	case fieldSpanID:
		e.SpanID = sized(f.v, 8)
	case fieldEntity:
		ok = readEntity(&e.Entity, f.v)
	case fieldBody:
		e.Body, ok = checked(f.v)
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
	}
	return true
}

func sized(b []byte, n int) []byte {
	if len(b) != n {
		return nil
	}
	return b
}

func readEntity(r *EntityRef, b []byte) bool {
	f := fields{rest: b}
	ok := true
	for ok && f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case 1:
			r.Kind, ok = checked(f.v)
		case 2:
			r.Namespace, ok = checked(f.v)
		case 3:
			r.Name, ok = checked(f.v)
		case 4:
			r.UID, ok = checked(f.v)
		case 5:
			r.APIVersion, ok = checked(f.v)
		case 6:
			r.Cluster, ok = checked(f.v)
		case 7:
			r.Role, ok = checked(f.v)
		}
	}
	return ok && !f.bad
}

// may tells whether field num (< 64) can be in the event.
func (e *Event) may(num uint32) bool { return e.present&(1<<num) != 0 }

// parts are the encoded fields in the order in which protobuf merges them, as far as field
// num can be among them.
func (e *Event) parts(num uint32) (parts [maxShared + 2][]byte) {
	parts[0] = e.raw
	if num >= tailField {
		parts[0] = e.raw[e.tail:]
	}
	for i, p := range e.shared[:e.sharing] {
		if num >= 64 || num == 0 || p.present&(1<<num) != 0 {
			parts[i+1] = p.encoded
		}
	}
	parts[maxShared+1] = e.patch
	return parts
}

// scalarText returns the last occurrence of a string field that is not in the view.
func (e *Event) scalarText(num uint32) (s string) {
	if !e.may(num) {
		return ""
	}
	for _, b := range e.parts(num) {
		for f := (fields{rest: b}); f.next(); {
			if f.is(num, wireBytes) {
				s = f.text()
			}
		}
	}
	return s
}

// scalarNumber returns the last occurrence of a varint field that is not in the view.
func (e *Event) scalarNumber(num uint32) (n uint64) {
	if !e.may(num) {
		return 0
	}
	for _, b := range e.parts(num) {
		for f := (fields{rest: b}); f.next(); {
			if f.is(num, wireVarint) {
				n = f.n
			}
		}
	}
	return n
}

// each calls yield with every occurrence of a length-delimited field until it says false.
func (e *Event) each(num uint32, yield func([]byte) bool) {
	if !e.may(num) {
		return
	}
	for _, b := range e.parts(num) {
		for f := (fields{rest: b}); f.next(); {
			if f.is(num, wireBytes) && !yield(f.v) {
				return
			}
		}
	}
}
