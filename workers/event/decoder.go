package event

import (
	"bytes"
	"fmt"
)

// Message is one message to decode.
type Message struct {
	// Header are the headers of the message; names are compared without regard to case.
	Header map[string][]string
	Data   []byte
	// Input and Sequence become the Origin of the events.
	Input    int
	Sequence uint64
	// Only are the positions of the events of a frame that are wanted, ascending; nil = all of them.
	Only []int
	// Time is when the stream stored the message, Unix nanoseconds. Events without an
	// ingest time get this one; 0 = they stay without.
	Time int64
}

// Limits bound what one message may cost. The zero value of a limit means its default.
type Limits struct {
	// MaxEvents is the number of events in one message, and that of contexts; default 65,536.
	MaxEvents int
	// MaxDecoded is the size of a frame after decompression, in bytes; default 16 MiB.
	MaxDecoded int
	// MaxEvent is the size of one event in bytes, as received and as encoded; default 1 MiB. Where
	// hints are believed it is MaxDecoded: stages add to events that were within the limit.
	MaxEvent int
	// MaxDepth is how deep JSON may nest; default 64.
	MaxDepth int
	// Hints has the hints of a frame believed. That is for frames that a stage wrote: what else
	// is published may have hints that hide a part of an event from those who believe them.
	Hints bool
	// Lift has what many events have in common taken out of them (Event.Lead), for those that
	// write frames of them.
	Lift bool
}

func (l Limits) withDefaults() Limits {
	fill := func(v *int, to int) {
		if *v <= 0 {
			*v = to
		}
	}
	fill(&l.MaxEvents, 65536)
	fill(&l.MaxDecoded, 16<<20)
	fill(&l.MaxEvent, 1<<20)
	fill(&l.MaxDepth, 64)
	return l
}

// Undecodable is a part of a message, or all of it, that is no event.
type Undecodable struct {
	// Raw are the bytes as received: the line, the element, a frame of the one event, or
	// the whole message.
	Raw []byte
	// ContentType is the type of Raw; empty when Raw is the whole message, whose headers
	// then belong to it.
	ContentType string
	// Index is the position in the message, from 0; events and failures are counted together.
	Index int
	// Err says what is wrong and where, in one line for a person.
	Err error
}

// Decoder decodes messages into events. It owns the memory of what it decoded: all of it
// is given back by Reset, at once. It is not safe for concurrent use.
type Decoder struct {
	limits Limits
	// maxFramed is MaxEvent as it is for the events of frames.
	maxFramed int
	arena     arena
	json      transcoder
	// contexts are nil until there are some.
	contexts *Contexts

	// The message in hand:
	events []Event
	bad    []Undecodable
	spans  []span // elements of an array
	shared []*Prepared
	room   int // for contexts in the events of the frame
	lead   []byte
	ingest []byte // encoded ingest time of the message; nil = not needed yet
	index  int
}

// NewDecoder returns a decoder with these limits.
func NewDecoder(l Limits) *Decoder {
	d := &Decoder{limits: l.withDefaults()}
	d.maxFramed = d.limits.MaxEvent
	if l.Hints {
		d.maxFramed = d.limits.MaxDecoded
	}
	d.json.d = d
	return d
}

// Remember has the decoder remember contexts in c, which other decoders may use when this one
// is not at work.
func (d *Decoder) Remember(c *Contexts) { d.contexts = c }

func (d *Decoder) memory() *Contexts {
	if d.contexts == nil {
		d.contexts = NewContexts(defaultContexts)
	}
	return d.contexts
}

// Reset takes back the memory of all events decoded since the last Reset: they, their
// strings and what was appended to them must not be used any more. The memory of messages
// is their owner's; events share it until then too.
func (d *Decoder) Reset() {
	d.arena.reset()
	d.forget()
	d.shared, d.spans, d.json.members = kept(d.shared), kept(d.spans), kept(d.json.members)
}

// forget lets go of the contexts of the last frame.
func (d *Decoder) forget() {
	clear(d.shared)
	d.shared = d.shared[:0]
}

// Held is how much memory the events decoded since the last Reset take, in bytes, messages apart.
func (d *Decoder) Held() (bytes int) {
	for _, c := range d.arena.chunks {
		bytes += len(c)
	}
	return bytes
}

// Decode appends the events of m to dst. What is no event is returned beside them, so
// that nothing is lost: one bad line, element or event of a frame hurts only itself. It
// never panics, whatever m holds.
func (d *Decoder) Decode(dst []Event, m Message) ([]Event, []Undecodable) {
	d.events, d.bad, d.index, d.ingest = dst, nil, 0, nil
	d.message(&m)
	events, bad := d.events, d.bad
	d.events, d.bad = nil, nil
	return events, bad
}

func (d *Decoder) message(m *Message) {
	switch form := formOf(m.Header); form {
	case FormFrame:
		d.whole(m, d.frame(m))
	case FormBinary:
		d.whole(m, d.binary(m))
	case FormLine:
		d.lines(m)
	case FormElement:
		d.whole(m, d.array(m))
	default:
		d.sniff(m)
	}
}

// whole notes an error that concerns the whole message.
func (d *Decoder) whole(m *Message, err error) {
	if err != nil {
		d.refuse(m.Data, "", err)
	}
}

// sniff decodes a message whose headers do not say what it is.
func (d *Decoder) sniff(m *Message) {
	text := bytes.TrimLeft(m.Data[markLength(m.Data):], " \t\r\n")
	if len(text) == 0 {
		d.whole(m, fmt.Errorf("the message is empty"))
		return
	}
	if text[0] != '{' && text[0] != '[' {
		err := d.frame(m)
		if err != nil && !d.looksLikeFrame(m) { // what a reader of frames says about it helps nobody
			err = unknown(m.Data)
		}
		d.whole(m, err)
		return
	}
	// A frame without its content type may begin with the same byte.
	if d.looksLikeFrame(m) && d.frame(m) == nil {
		return
	}
	if text[0] == '[' {
		d.whole(m, d.array(m))
		return
	}
	d.object(m)
}

// looksLikeFrame is a cheap look at a block that would also pass as the start of JSON: the
// first byte is then the whole size of the frame, and the frame begins with its version.
func (d *Decoder) looksLikeFrame(m *Message) bool {
	const versionField = "\x08\x01"
	return len(m.Data) > 4 && bytes.Contains(m.Data[1:min(len(m.Data), 8)], []byte(versionField))
}

// element decodes one JSON object into an event.
func (d *Decoder) element(m *Message, form Form, b []byte) {
	if len(b) > d.limits.MaxEvent {
		d.fail(form, b, d.tooLarge(len(b)))
		return
	}
	raw, err := d.json.event(b)
	d.encoded(m, form, b, raw, err)
}

// encoded takes the event that was made of the bytes received, unless err is set.
func (d *Decoder) encoded(m *Message, form Form, received, raw []byte, err error) {
	if err == nil && len(raw) > d.limits.MaxEvent {
		err = d.tooLarge(len(raw))
	}
	if err != nil {
		d.fail(form, received, err)
		return
	}
	e := d.another()
	e.raw, e.received, e.form, e.arena = d.arena.copied(raw), received, form, &d.arena
	if err := e.readRaw(e.raw, false); err != nil {
		d.events = d.events[:len(d.events)-1]
		d.fail(form, received, err)
		return
	}
	if d.limits.Lift {
		d.lift(e)
	}
	d.accept(m, e)
}

// another makes room for one more event.
func (d *Decoder) another() *Event {
	n := len(d.events)
	if n == cap(d.events) {
		d.events = append(d.events, Event{})
		return &d.events[n]
	}
	d.events = d.events[:n+1]
	d.events[n] = Event{}
	return &d.events[n]
}

// accept finishes an event.
func (d *Decoder) accept(m *Message, e *Event) {
	e.Origin = Origin{Input: m.Input, Sequence: m.Sequence, Index: d.index}
	d.index++
	switch {
	case e.IngestTime != 0 || m.Time == 0:
	case e.may(fieldIngestTime): // 0 was written
		e.SetIngestTime(m.Time)
	default:
		if d.ingest == nil { // the same bytes for all events of the message
			d.ingest = appendFixed(d.arena.take(ingestSize), fieldIngestTime, uint64(m.Time))
		}
		e.patch, e.IngestTime, e.early = d.ingest[:ingestSize:ingestSize], m.Time, true
		e.present |= 1 << fieldIngestTime
		e.own |= 1 << fieldIngestTime
	}
}

// ingestSize is the size of an encoded ingest time.
const ingestSize = 9

// fail notes that one event is undecodable.
func (d *Decoder) fail(form Form, raw []byte, err error) {
	if form == FormFrame {
		raw = appendFrameOf(nil, raw, 0)
	}
	d.refuse(raw, form.elementType(), err)
}

// refuse notes what stands where the next event should.
func (d *Decoder) refuse(raw []byte, contentType string, err error) {
	d.bad = append(d.bad, Undecodable{Raw: raw, ContentType: contentType, Index: d.index, Err: err})
	d.index++
}

func (d *Decoder) tooMany(n int) error {
	return fmt.Errorf("the message has %d events, at most %d: %w", n, d.limits.MaxEvents, ErrTooLarge)
}

func (d *Decoder) tooLarge(size int) error {
	return fmt.Errorf("the event has %d bytes, at most %d: %w", size, d.limits.MaxEvent, ErrTooLarge)
}
