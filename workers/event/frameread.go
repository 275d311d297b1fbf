package event

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrTooLarge marks what is larger than a limit allows.
var ErrTooLarge = errors.New("larger than the limit")

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
	d.forget()
	d.room = maxMerged * d.limits.MaxDecoded
	if d.limits.Hints {
		d.room = math.MaxInt
	}
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
			if len(d.shared) == d.limits.MaxEvents {
				return fmt.Errorf("frame: more than %d contexts: %w", d.limits.MaxEvents, ErrTooLarge)
			}
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
	only := m.Only
	if only == nil {
		d.events = slices.Grow(d.events, events)
	}
	for i := 0; i < len(rest) && events > 0; {
		num, wire, _, from, to := field(rest, i)
		i = to
		if wire == wireBytes && m.Only != nil && (num == fieldFrameEvents || num == fieldFrameEntries) {
			if len(only) == 0 || only[0] != d.index {
				events--
				d.index++
				continue
			}
			only = only[1:]
		}
		switch {
		case wire != wireBytes:
		case num == fieldFrameEvents:
			events--
			d.frameEvent(m, rest[from:to:to], &entry{})
		case num == fieldFrameEntries:
			events--
			d.frameEntry(m, rest[from:to:to])
		}
	}
	return nil
}

// frameEntry decodes one entry of a frame. One that is malformed is an event that is.
func (d *Decoder) frameEntry(m *Message, encoded []byte) {
	var raw []byte
	en := entry{encoded: encoded}
	for i := 0; i < len(encoded); {
		num, wire, n, from, to := field(encoded, i)
		if i = to; to == 0 {
			d.failEntry(&entry{encoded: encoded}, errWire)
			return
		}
		switch {
		case num == fieldEntryEvent && wire == wireBytes:
			raw = encoded[from:to:to]
		case num == fieldEntryContexts && wire == wireBytes && en.refs == nil:
			en.refs = encoded[from:to:to]
		case num == fieldEntryContexts && wire == wireBytes: // another piece
			en.refs = append(en.refs, encoded[from:to]...)
		case num == fieldEntryContexts && wire == wireVarint: // not packed
			en.refs = protowire.AppendVarint(en.refs, n)
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
	d.frameEvent(m, raw, &en)
}

// entry is what a frame says about one event beside the event.
type entry struct {
	refs    []byte // numbers of contexts, packed
	present uint64
	head    int
	lead    uint64 // number of the context plus one; 0 = none
	encoded []byte // all of it; nil = the event stands in the frame without an entry
}

func (d *Decoder) frameEvent(m *Message, raw []byte, en *entry) {
	size, shares, err := d.measure(raw, en)
	if err != nil {
		d.failFramed(raw, en, err)
		return
	}
	e := d.another()
	if en.lead > 0 {
		e.follow(d.shared[en.lead-1])
	}
	e.raw, e.received, e.form, e.arena = raw, raw, FormFrame, &d.arena
	if shares {
		err = e.readHead(raw, en.present, en.head)
		if e.lead != nil {
			e.present |= e.lead.present
		}
		d.share(e, en)
	} else {
		err = d.merge(e, en, size)
	}
	if err != nil {
		d.events = d.events[:len(d.events)-1]
		d.failFramed(raw, en, err)
		return
	}
	if d.limits.Lift && en.lead == 0 {
		d.lift(e)
	}
	d.accept(m, e)
}

const (
	// maxNamed is how many contexts an event may name.
	maxNamed = 256
	// maxMerged bounds the contexts of a frame, counted for each event that names them, in multiples
	// of MaxDecoded: a stage may have to copy them into each of these events.
	maxMerged = 4
)

var errNumbers = errors.New("the numbers of the event's contexts are cut off or malformed")

// measure returns the size of an event with the contexts that it names, which must be there and fit
// the limits. shares says that a view can keep them apart from the event.
func (d *Decoder) measure(raw []byte, en *entry) (size int, shares bool, err error) {
	if en.lead > uint64(len(d.shared)) {
		return 0, false, d.noContext(en.lead - 1)
	}
	size, shares = len(raw), true
	if en.lead > 0 {
		size += len(d.shared[en.lead-1].encoded)
	}
	named := 0
	for i := 0; i < len(en.refs); named++ {
		n, next := uvarint(en.refs, i)
		switch {
		case next == 0:
			return 0, false, errNumbers
		case n >= uint64(len(d.shared)):
			return 0, false, d.noContext(n)
		case named == maxNamed:
			return 0, false, fmt.Errorf("the event names more than %d contexts: %w", maxNamed, ErrTooLarge)
		}
		i = next
		p := d.shared[n]
		size += len(p.encoded)
		shares = shares && !p.view
	}
	switch {
	case size > d.maxFramed:
		return 0, false, fmt.Errorf("the event has %d bytes with its contexts, at most %d: %w", size, d.maxFramed, ErrTooLarge)
	case size-len(raw) > d.room:
		return 0, false, fmt.Errorf("the events of the frame have more than %d bytes of contexts: %w", maxMerged*d.limits.MaxDecoded, ErrTooLarge)
	}
	d.room -= size - len(raw)
	return size, shares && named <= maxShared, nil
}

func (d *Decoder) noContext(n uint64) error {
	return fmt.Errorf("the event names context %d of its frame, which has %d", n, len(d.shared))
}

// share gives the event the contexts that the entry names.
func (d *Decoder) share(e *Event, en *entry) {
	for i := 0; i < len(en.refs); {
		n, next := uvarint(en.refs, i)
		i = next
		e.AppendPrepared(d.shared[n])
	}
	e.came = e.sharing
}

// merge makes one event of what cannot be shared, which has size bytes.
func (d *Decoder) merge(e *Event, en *entry, size int) error {
	whole := e.AppendProto(d.arena.take(size))
	for i := 0; i < len(en.refs); {
		n, next := uvarint(en.refs, i)
		i = next
		whole = append(whole, d.shared[n].encoded...)
	}
	*e = Event{raw: whole, received: whole, form: FormFrame, arena: &d.arena}
	return e.readRaw(whole, false)
}

// failFramed notes that one event of a frame is undecodable.
func (d *Decoder) failFramed(raw []byte, en *entry, err error) {
	if en.encoded == nil {
		d.fail(FormFrame, raw, err)
		return
	}
	d.failEntry(en, err)
}

// failEntry notes that an entry of a frame is undecodable. The event alone would be another one, so the
// entry is kept, with the contexts that it names under new numbers, as long as there is room for them.
func (d *Decoder) failEntry(en *entry, err error) {
	header := FrameHeader{Count: 1}
	frame, kept := header.appendTo(nil), en.encoded
	if contexts, numbers, size := d.named(en); len(contexts) > 0 && size <= d.room {
		d.room -= size
		for _, p := range contexts {
			frame = protowire.AppendBytes(protowire.AppendTag(frame, fieldFrameContexts, protowire.BytesType), p.encoded)
		}
		kept = en.renumbered(numbers)
	}
	frame = protowire.AppendBytes(protowire.AppendTag(frame, fieldFrameEntries, protowire.BytesType), kept)
	d.refuse(appendBlock(nil, frame), ContentTypeFrame, err)
}

// named returns the contexts that an entry names, their numbers in a frame of their own, and their size.
func (d *Decoder) named(en *entry) (contexts []*Prepared, numbers map[uint64]uint64, size int) {
	numbers = map[uint64]uint64{}
	name := func(n uint64) {
		if _, ok := numbers[n]; ok || n >= uint64(len(d.shared)) {
			return
		}
		numbers[n] = uint64(len(contexts))
		contexts = append(contexts, d.shared[n])
		size += len(d.shared[n].encoded)
	}
	if en.lead > 0 {
		name(en.lead - 1)
	}
	for i := 0; i < len(en.refs); {
		n, next := uvarint(en.refs, i)
		if next == 0 {
			break
		}
		name(n)
		i = next
	}
	return contexts, numbers, size
}

// renumbered returns the entry with other numbers of contexts. One that is not among them stays: it
// was too high for the frame, so it is for one with fewer contexts.
func (en *entry) renumbered(numbers map[uint64]uint64) []byte {
	number := func(n uint64) uint64 {
		if to, ok := numbers[n]; ok {
			return to
		}
		return n
	}
	var out, refs []byte
	for at := 0; at < len(en.encoded); {
		num, _, _, _, to := field(en.encoded, at)
		if num != fieldEntryContexts && num != fieldEntryLead {
			out = append(out, en.encoded[at:to]...)
		}
		at = to
	}
	for i := 0; i < len(en.refs); {
		n, next := uvarint(en.refs, i)
		if next == 0 {
			refs = append(refs, en.refs[i:]...)
			break
		}
		refs = protowire.AppendVarint(refs, number(n))
		i = next
	}
	out = appendBytes(out, fieldEntryContexts, refs)
	if en.lead > 0 {
		out = appendUint(out, fieldEntryLead, number(en.lead-1)+1)
	}
	return out
}
