package event

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
)

// ErrTooLarge marks what is larger than a limit allows.
var ErrTooLarge = errors.New("larger than the limit")

// ReadFrameHeader returns the header of a frame. maxDecoded bounds its size after
// decompression, in bytes; 0 = the default of Limits.
func ReadFrameHeader(block []byte, maxDecoded int) (FrameHeader, error) {
	l := Limits{MaxDecoded: maxDecoded}.withDefaults()
	size, err := blockSize(block, l.MaxDecoded)
	if err != nil {
		return FrameHeader{}, err
	}
	b, err := s2.Decode(make([]byte, 0, size), block)
	if err != nil {
		return FrameHeader{}, fmt.Errorf("frame: %w", err)
	}
	h, _, err := readFrameHeader(b)
	return h, err
}

// blockSize returns the size of a block after decompression, without decompressing it.
func blockSize(block []byte, limit int) (int, error) {
	size, err := s2.DecodedLen(block)
	if err != nil {
		return 0, fmt.Errorf("frame: not an S2 block: %w", err)
	}
	if size > limit {
		return 0, fmt.Errorf("frame: %d bytes after decompression, at most %d: %w", size, limit, ErrTooLarge)
	}
	return size, nil
}

// readFrameHeader reads the fields before the first event and returns what follows.
func readFrameHeader(b []byte) (h FrameHeader, rest []byte, err error) {
	rest = b
	f := fields{rest: b}
	for f.next() && f.num < fieldFrameContexts {
		rest = f.rest
		switch {
		case f.is(1, wireVarint):
			h.Version = uint32(f.n)
		case f.is(2, wireVarint):
			h.Count = uint32(f.n)
		case f.is(3, wireVarint):
			h.Partition = uint32(f.n)
		case f.is(4, wireFixed64):
			h.MinTime = f.nanos()
		case f.is(5, wireFixed64):
			h.MaxTime = f.nanos()
		case f.is(6, wireBytes):
			if !utf8.Valid(f.v) {
				return h, nil, fmt.Errorf("frame: input_stream is not UTF-8")
			}
			h.InputStream = string(f.v)
		case f.is(7, wireVarint):
			h.InputFirst = f.n
		case f.is(8, wireVarint):
			h.InputLast = f.n
		}
	}
	if f.bad {
		return h, nil, fmt.Errorf("frame: %w", errWire)
	}
	if h.Version != frameVersion {
		return h, nil, fmt.Errorf("frame: version %d: this build reads version %d", h.Version, frameVersion)
	}
	return h, rest, nil
}

// frame decodes a frame. What is wrong with the frame itself concerns the whole message;
// what is wrong with one event concerns that event.
func (d *Decoder) frame(m *Message) error {
	size, err := blockSize(m.Data, d.limits.MaxDecoded)
	if err != nil {
		return err
	}
	b, err := s2.Decode(d.arena.take(size)[:size], m.Data)
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	_, rest, err := readFrameHeader(b)
	if err != nil {
		return err
	}
	// The frame is taken as a whole or not at all: what follows a malformed field would be
	// guesswork.
	events := 0
	d.shared = d.shared[:0]
	for i := 0; i < len(rest); {
		num, wire, _, from, to := field(rest, i)
		if i = to; to == 0 {
			return fmt.Errorf("frame: %w", errWire)
		}
		switch {
		case wire != wireBytes:
		case num == fieldFrameEvents || num == fieldFrameEntries:
			events++
		case num == fieldFrameContexts:
			p, err := d.memory().context(rest[from:to])
			if err != nil {
				return fmt.Errorf("frame: context %d: %w", len(d.shared), err)
			}
			d.shared = append(d.shared, p)
		}
	}
	if events > d.limits.MaxEvents {
		return d.tooMany(events)
	}
	d.events = slices.Grow(d.events, events)
	for i := 0; i < len(rest) && events > 0; {
		num, wire, _, from, to := field(rest, i)
		i = to
		switch {
		case wire != wireBytes:
		case num == fieldFrameEvents:
			events--
			d.frameEvent(m, rest[from:to:to], entry{}, nil)
		case num == fieldFrameEntries:
			events--
			d.frameEntry(m, rest[from:to:to], d.shared)
		}
	}
	return nil
}

// frameEntry decodes one entry of a frame. One that is malformed is an event that is.
func (d *Decoder) frameEntry(m *Message, encoded []byte, shared []*Prepared) {
	var raw []byte
	var en entry
	for i := 0; i < len(encoded); {
		num, wire, n, from, to := field(encoded, i)
		if i = to; to == 0 {
			d.fail(FormFrame, encoded, errWire)
			return
		}
		switch {
		case num == fieldEntryEvent && wire == wireBytes:
			raw = encoded[from:to:to]
		case num == fieldEntryContexts && wire == wireBytes:
			en.refs = encoded[from:to:to]
		case num == fieldEntryPresent && wire == wireFixed64:
			en.present = n
		case num == fieldEntryHead && wire == wireVarint:
			en.head = int(min(n, 1<<31))
		case num == fieldEntryLead && wire == wireVarint:
			en.lead = n
		}
	}
	if !d.limits.Hints {
		en.present, en.head = 0, 0
	}
	en.encoded = encoded
	d.frameEvent(m, raw, en, shared)
}

// entry is what a frame says about one event beside the event.
type entry struct {
	refs    []byte
	present uint64
	head    int
	lead    uint64 // number of the context plus one; 0 = none
	encoded []byte // all of it
}

func (d *Decoder) frameEvent(m *Message, raw []byte, en entry, shared []*Prepared) {
	if len(raw) > d.limits.MaxEvent {
		d.fail(FormFrame, raw, d.tooLarge(len(raw)))
		return
	}
	if en.lead > uint64(len(shared)) {
		d.failEntry(en.encoded, noContext(en.lead-1, shared))
		return
	}
	e := d.another()
	if en.lead > 0 {
		e.follow(shared[en.lead-1])
	}
	e.raw, e.received, e.form, e.arena = raw, raw, FormFrame, &d.arena
	err := e.readHead(raw, en.present, en.head)
	if e.lead != nil {
		e.present |= e.lead.present
	}
	if err != nil {
		d.events = d.events[:len(d.events)-1]
		d.fail(FormFrame, raw, err)
		return
	}
	if err := e.share(en.refs, shared); err != nil {
		d.events = d.events[:len(d.events)-1]
		d.failEntry(en.encoded, err)
		return
	}
	if d.limits.Lift && en.lead == 0 {
		d.lift(e)
	}
	d.accept(m, e)
}

func noContext(n uint64, shared []*Prepared) error {
	return fmt.Errorf("the event names context %d of its frame, which has %d", n, len(shared))
}

// share merges the contexts that refs (packed numbers) name.
func (e *Event) share(refs []byte, shared []*Prepared) error {
	for len(refs) > 0 {
		n, size := uvarint(refs, 0)
		if size == 0 || n >= uint64(len(shared)) {
			return noContext(n, shared)
		}
		refs = refs[size:]
		if p := shared[n]; len(e.patch) == 0 {
			e.AppendPrepared(p)
		} else { // behind what could not be shared
			e.AppendEncoded(p.encoded)
		}
	}
	e.came = e.sharing
	if len(e.patch) > 0 { // more than can be shared
		e.raw = e.AppendProto(nil)
		e.received, e.patch, e.sharing, e.came = e.raw, nil, 0, 0
		e.lead, e.cameLed, e.own = nil, nil, e.present
		e.tail, e.head = 0, -1
	}
	return nil
}
