package event

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event/internal/arena"
)

// Event is a view of one encoded event. Its strings and slices share memory with the
// message that it came from: they are valid until the Decoder that made it is reset.
// (strings.Clone what must live longer, AppendProto a whole event.)
//
// The exported fields are read once, when the event is decoded; setting one does not
// change the encoded event (the Set and Add methods do both). An event belongs to one
// goroutine at a time, and so do all events of one Decoder while they are changed. Of two
// copies of an Event only one may be changed.
type Event struct {
	ID, Source, Type, Subject string
	// Time, ObservedTime and IngestTime are Unix nanoseconds; 0 = unset.
	Time, ObservedTime, IngestTime int64
	// Severity is the OpenTelemetry severity number, 1..24; 0 = unset.
	Severity     int32
	PartitionKey string
	TraceID      []byte // 16 bytes or nil
	SpanID       []byte // 8 bytes or nil
	Entity       EntityRef
	Body         string
	// Count is how many occurrences the event stands for, at least 1.
	Count uint32

	// Origin is where the event was received: the stream sequence of its message and its
	// position in it. A redelivered event has the same origin.
	Origin Origin

	// The event is the merge of lead, raw, shared and patch, in this order.
	lead   *Prepared // what the events of one source have in common; nil = nothing
	raw    []byte    // one encoded millrace.event.v1.Event, as far as it stands alone
	shared [maxShared]*Prepared
	patch  []byte // encoded fields appended by this stage
	// sharing is how many of shared belong to the event, and came how many of them came with it. What
	// came stays there when the event shares it no more.
	sharing, came uint8
	// received are the bytes that the event came as: raw itself, a line, an element; cameLed is
	// the lead that came with them.
	received []byte
	cameLed  *Prepared
	form     Form
	arena    *arena.Arena // memory for patch; nil = the heap

	// present has bit n set when field n may be in the event, own when it may be in raw or patch, for n < 64.
	present, own uint64
	// tail is where in raw the first field from tailField on begins, and head where the last
	// field ends that the view shows, signals aside. head is -1 when the patch has such fields.
	tail, head int
	// early says that the patch may stand before raw: it holds an ingest time, which raw lacks.
	early bool
	// signal is the field number of the signal that is set; 0 = none.
	signal     uint32
	traceFlags uint32
	parentSpan []byte // 8 bytes or nil
}

// maxShared is how many prepared fields an event has without a copy of its own.
const maxShared = 6

// EntityRef names a thing that an event is about.
type EntityRef struct {
	Kind, Namespace, Name, UID, APIVersion, Cluster, Role string
}

// Origin identifies one received event.
type Origin struct {
	// Input is the index of the stage's input that the event came through.
	Input int
	// Sequence is the stream sequence of the message.
	Sequence uint64
	// Index is the position of the event in the message, from 0.
	Index int
	// Made names a new event that a stage of the worker made of it: a hash of its id. 0 = the event was received.
	Made uint64
}

// Size is the length of the encoded event in bytes.
func (e *Event) Size() int {
	n := len(e.raw) + len(e.patch)
	if e.lead != nil {
		n += len(e.lead.encoded)
	}
	for _, p := range e.shared[:e.sharing] {
		n += len(p.encoded)
	}
	return n
}

// AppendProto appends the encoded event: what came and what was appended.
func (e *Event) AppendProto(dst []byte) []byte {
	if e.lead != nil {
		dst = append(dst, e.lead.encoded...)
	}
	dst = append(dst, e.raw...)
	for _, p := range e.shared[:e.sharing] {
		dst = append(dst, p.encoded...)
	}
	return append(dst, e.patch...)
}

// unshare copies what the event shares into its own patch.
func (e *Event) unshare() {
	if e.sharing == 0 {
		return
	}
	n := len(e.patch)
	for _, p := range e.shared[:e.sharing] {
		n += len(p.encoded)
		e.own |= p.present
	}
	whole := e.room(n)
	for _, p := range e.shared[:e.sharing] {
		whole = append(whole, p.encoded...)
	}
	e.patch = append(whole, e.patch...)
	e.sharing = 0
	if e.early {
		e.early, e.head = false, -1
	}
}

// room returns an empty slice with room for n bytes, from the memory of the event.
func (e *Event) room(n int) []byte {
	if e.arena != nil {
		return e.arena.Take(n)
	}
	return make([]byte, 0, n)
}

// Form is the form that the event was received in.
func (e *Event) Form() Form { return e.form }

// Received are the bytes that the event came as: a line, an element, a body. Of a frame it is the
// encoded event with what it shared with others then.
func (e *Event) Received() []byte {
	if e.cameLed == nil && e.came == 0 {
		return e.received
	}
	var whole []byte
	if e.cameLed != nil {
		whole = append(whole, e.cameLed.encoded...)
	}
	whole = append(whole, e.received...)
	for _, p := range e.shared[:e.came] {
		whole = append(whole, p.encoded...)
	}
	return whole
}

// Fork returns a copy that shares the memory of e. Both may be changed from then on.
func (e *Event) Fork() Event {
	c := *e
	c.patch = e.patch[:len(e.patch):len(e.patch)]
	return c
}

// Marked says whether the event is one of the few that tell of trouble or of a change: a warning or worse, or one of
// Kubernetes. Frames name them in a header, without decoding the rest of a frame.
func (e *Event) Marked() bool {
	return e.Severity >= SeverityWarn || strings.HasPrefix(e.Type, "k8s.")
}

// ToProto decodes the whole event. It fails when a field that was not looked at before is
// malformed. It is for rare paths: it allocates.
func (e *Event) ToProto() (*eventv1.Event, error) {
	m := &eventv1.Event{}
	for i := 0; ; i++ {
		b, ok := e.part(i, 0)
		if !ok {
			return m, nil
		}
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(b, m); err != nil {
			return nil, fmt.Errorf("decode event %q: %w", strings.ToValidUTF8(e.ID, "\uFFFD"), err)
		}
	}
}

// FromProto encodes m and returns a view of it that owns its memory. It fails when a string
// of m is not valid UTF-8.
func FromProto(m *eventv1.Event, origin Origin) (Event, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return Event{}, fmt.Errorf("encode event %q: %w", m.GetId(), err)
	}
	e := Event{Origin: origin}
	if err := e.Read(raw, raw, FormFrame, nil); err != nil {
		return Event{}, fmt.Errorf("encode event %q: %w", m.GetId(), err)
	}
	return e, nil
}
