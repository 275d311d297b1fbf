package decode

import (
	"bytes"
	"fmt"
	"slices"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/event/internal/arena"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
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
	fill(&l.MaxDepth, jsontext.DefaultDepth)
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
	limits   Limits
	arena    arena.Arena
	json     cloudevent.Reader
	frames   frame.Reader
	contexts *event.Contexts

	// The message in hand:
	events []event.Event
	bad    []Undecodable
	spans  []jsontext.Span // elements of an array
	ingest []byte          // encoded ingest time of the message; nil = not needed yet
	index  int
}

// New returns a decoder with these limits.
func New(l Limits) *Decoder {
	l = l.withDefaults()
	d := &Decoder{limits: l}
	d.json = cloudevent.NewReader(&d.arena, l.MaxDepth)
	d.frames = frame.Reader{Memory: &d.arena, MaxContexts: l.MaxEvents, MaxDecoded: l.MaxDecoded, MaxEvent: l.MaxEvent, Hints: l.Hints}
	if l.Hints {
		d.frames.MaxEvent = l.MaxDecoded
	}
	d.Remember(event.NewContexts(event.DefaultContexts))
	return d
}

// Remember has the decoder remember contexts in c, which other decoders may use when this one
// is not at work.
func (d *Decoder) Remember(c *event.Contexts) { d.contexts, d.frames.Contexts = c, c }

// Reset takes back the memory of all events decoded since the last Reset: they, their
// strings and what was appended to them must not be used any more. The memory of messages
// is their owner's; events share it until then too.
func (d *Decoder) Reset() {
	d.arena.Reset()
	d.frames.Reset()
	d.json.Reset()
	d.spans = arena.Kept(d.spans)
}

// Held is how much memory the events decoded since the last Reset take, in bytes, messages apart.
func (d *Decoder) Held() (bytes int) { return d.arena.Held() }

// Decode appends the events of m to dst. What is no event is returned beside them, so
// that nothing is lost: one bad line, element or event of a frame hurts only itself. It
// never panics, whatever m holds.
func (d *Decoder) Decode(dst []event.Event, m Message) ([]event.Event, []Undecodable) {
	d.events, d.bad, d.index, d.ingest = dst, nil, 0, nil
	d.message(&m)
	events, bad := d.events, d.bad
	d.events, d.bad = nil, nil
	return events, bad
}

func (d *Decoder) message(m *Message) {
	switch form := formOf(m.Header); form {
	case event.FormFrame:
		d.whole(m, d.frame(m))
	case event.FormBinary:
		d.whole(m, d.binary(m))
	case event.FormLine:
		d.lines(m)
	case event.FormElement:
		d.whole(m, d.array(m))
	default:
		d.sniff(m)
	}
}

// frame decodes a frame. What is wrong with the frame itself concerns the whole message;
// what is wrong with one event concerns that event.
func (d *Decoder) frame(m *Message) error {
	if err := d.frames.Open(m.Data); err != nil {
		return err
	}
	n, only := d.frames.Len(), m.Only
	switch {
	case n > d.limits.MaxEvents:
		return d.tooMany(n)
	case only == nil:
		d.events = slices.Grow(d.events, n)
	}
	for d.frames.Next() {
		if m.Only != nil {
			if len(only) == 0 || only[0] != d.index {
				d.index++
				continue
			}
			only = only[1:]
		}
		d.framed(m)
	}
	return nil
}

// framed takes the event of the frame that its reader is at.
func (d *Decoder) framed(m *Message) {
	e := d.another()
	if err := d.frames.Read(e); err != nil {
		d.events = d.events[:len(d.events)-1]
		d.refuse(d.frames.Refused(), event.ContentTypeFrame, err)
		return
	}
	if d.limits.Lift && !d.frames.Led() {
		d.contexts.Lift(e)
	}
	d.accept(m, e)
}

// binary decodes a binary CloudEvent: attributes in ce-* headers, the payload as data.
func (d *Decoder) binary(m *Message) error {
	if len(m.Data) > d.limits.MaxEvent {
		return d.tooLarge(len(m.Data))
	}
	raw, err := d.json.Binary(m.Header, header(m.Header, event.HeaderContentType), m.Data)
	if err != nil {
		return err
	}
	d.encoded(m, event.FormBinary, m.Data, raw, nil)
	return nil
}

// whole notes an error that concerns the whole message.
func (d *Decoder) whole(m *Message, err error) {
	if err != nil {
		d.refuse(m.Data, "", err)
	}
}

// sniff decodes a message whose headers do not say what it is.
func (d *Decoder) sniff(m *Message) {
	text := bytes.TrimLeft(m.Data[jsontext.MarkLength(m.Data):], " \t\r\n")
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
func (d *Decoder) element(m *Message, form event.Form, b []byte) {
	if len(b) > d.limits.MaxEvent {
		d.fail(form, b, d.tooLarge(len(b)))
		return
	}
	raw, err := d.json.Object(b)
	d.encoded(m, form, b, raw, err)
}

// encoded takes the event that was made of the bytes received, unless err is set.
func (d *Decoder) encoded(m *Message, form event.Form, received, raw []byte, err error) {
	if err == nil && len(raw) > d.limits.MaxEvent {
		err = d.tooLarge(len(raw))
	}
	if err != nil {
		d.fail(form, received, err)
		return
	}
	e := d.another()
	if err := e.Read(d.arena.Copied(raw), received, form, &d.arena); err != nil {
		d.events = d.events[:len(d.events)-1]
		d.fail(form, received, err)
		return
	}
	if d.limits.Lift {
		d.contexts.Lift(e)
	}
	d.accept(m, e)
}

// another makes room for one more event.
func (d *Decoder) another() *event.Event {
	n := len(d.events)
	if n == cap(d.events) {
		d.events = append(d.events, event.Event{})
		return &d.events[n]
	}
	d.events = d.events[:n+1]
	d.events[n] = event.Event{}
	return &d.events[n]
}

// accept finishes an event.
func (d *Decoder) accept(m *Message, e *event.Event) {
	e.Origin = event.Origin{Input: m.Input, Sequence: m.Sequence, Index: d.index}
	d.index++
	if e.IngestTime != 0 || m.Time == 0 {
		return
	}
	if d.ingest == nil {
		d.ingest = event.AppendIngestTime(d.arena.Take(event.IngestSize), m.Time)
	}
	e.Ingested(m.Time, d.ingest)
}

// fail notes that one event is undecodable.
func (d *Decoder) fail(form event.Form, raw []byte, err error) {
	d.refuse(raw, elementType(form), err)
}

// refuse notes what stands where the next event should.
func (d *Decoder) refuse(raw []byte, contentType string, err error) {
	d.bad = append(d.bad, Undecodable{Raw: raw, ContentType: contentType, Index: d.index, Err: err})
	d.index++
}

func (d *Decoder) tooMany(n int) error {
	return fmt.Errorf("the message has %d events, at most %d: %w", n, d.limits.MaxEvents, wire.ErrTooLarge)
}

func (d *Decoder) tooLarge(size int) error {
	return fmt.Errorf("the event has %d bytes, at most %d: %w", size, d.limits.MaxEvent, wire.ErrTooLarge)
}
