package frame

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/arena"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// blockSize returns the size of a block after decompression, without decompressing it.
func blockSize(block []byte, limit int) (int, error) {
	size, err := s2.DecodedLen(block)
	if err != nil {
		return 0, fmt.Errorf("frame: not an S2 block: %w", err)
	}
	if size > limit {
		return 0, fmt.Errorf("frame: %d bytes after decompression, at most %d: %w", size, limit, wire.ErrTooLarge)
	}
	return size, nil
}

// ReadHeader reads the fields of a frame, decompressed, before its first event, and returns what follows.
func ReadHeader(b []byte) (h Header, rest []byte, err error) {
	rest = b
	f := wire.Fields{Rest: b}
	for f.Next() && f.Num < fieldFrameContexts {
		rest = f.Rest
		switch {
		case f.Is(1, wire.VarintType):
			h.Version = uint32(f.N)
		case f.Is(2, wire.VarintType):
			h.Count = uint32(f.N)
		case f.Is(3, wire.VarintType):
			h.Partition = uint32(f.N)
		case f.Is(4, wire.Fixed64Type):
			h.MinTime = f.Nanos()
		case f.Is(5, wire.Fixed64Type):
			h.MaxTime = f.Nanos()
		case f.Is(6, wire.BytesType):
			if !utf8.Valid(f.V) {
				return h, nil, fmt.Errorf("frame: input_stream is not UTF-8")
			}
			h.InputStream = string(f.V)
		case f.Is(7, wire.VarintType):
			h.InputFirst = f.N
		case f.Is(8, wire.VarintType):
			h.InputLast = f.N
		}
	}
	if f.Bad {
		return h, nil, fmt.Errorf("frame: %w", wire.ErrMalformed)
	}
	if h.Version != frameVersion {
		return h, nil, fmt.Errorf("frame: version %d: this build reads version %d", h.Version, frameVersion)
	}
	return h, rest, nil
}

// Reader reads one frame after another: Open, then Next and Read for each event.
type Reader struct {
	Memory   *arena.Arena // of what is decompressed
	Contexts *event.Contexts
	// Limits: contexts of a frame, bytes of it after decompression, bytes of an event with its contexts.
	MaxContexts, MaxDecoded, MaxEvent int
	// Hints has the hints of a frame believed.
	Hints bool

	// The frame in hand:
	shared []*event.Prepared
	rest   []byte
	at     int // in rest
	events int
	left   int // of events
	room   int // for contexts in the events

	// The event in hand:
	own   []byte
	entry entry // encoded = nil: the event stands in the frame without one, and the rest is stale
	named []*event.Prepared
}

// Open begins a frame, which is taken as a whole or not at all: what follows a malformed field would
// be guesswork.
func (r *Reader) Open(block []byte) error {
	r.forget()
	size, err := blockSize(block, r.MaxDecoded)
	if err != nil {
		return err
	}
	b, err := s2.Decode(r.Memory.Take(size)[:size], block)
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	_, rest, err := ReadHeader(b)
	if err != nil {
		return err
	}
	r.room = maxMerged * r.MaxDecoded
	if r.Hints {
		r.room = math.MaxInt
	}
	events := 0
	for i := 0; i < len(rest); {
		num, typ, _, from, to := wire.Field(rest, i)
		if i = to; to == 0 {
			return fmt.Errorf("frame: %w", wire.ErrMalformed)
		}
		switch {
		case typ != wire.BytesType:
		case num == fieldFrameEvents || num == fieldFrameEntries:
			events++
		case num == fieldFrameContexts:
			if len(r.shared) == r.MaxContexts {
				return fmt.Errorf("frame: more than %d contexts: %w", r.MaxContexts, wire.ErrTooLarge)
			}
			p, err := r.Contexts.Prepare(rest[from:to])
			if err != nil {
				return fmt.Errorf("frame: context %d: %w", len(r.shared), err)
			}
			r.shared = append(r.shared, p)
		}
	}
	r.rest, r.events, r.left = rest, events, events
	return nil
}

// Reset lets go of the last frame and of unusual room.
func (r *Reader) Reset() {
	r.forget()
	r.shared, r.named = arena.Kept(r.shared), arena.Kept(r.named)
}

// forget lets go of the last frame.
func (r *Reader) forget() {
	clear(r.shared)
	clear(r.named)
	r.shared, r.named = r.shared[:0], r.named[:0]
	r.rest, r.own, r.entry, r.at, r.events, r.left = nil, nil, entry{}, 0, 0, 0
}

// Len is the number of events in the frame.
func (r *Reader) Len() int { return r.events }

// Next moves to the next event; false at the end.
func (r *Reader) Next() bool {
	for r.left > 0 {
		num, typ, _, from, to := wire.Field(r.rest, r.at)
		r.at = to
		switch {
		case typ != wire.BytesType:
		case num == fieldFrameEvents:
			r.own, r.entry.encoded = r.rest[from:to:to], nil
			r.left--
			return true
		case num == fieldFrameEntries:
			r.own, r.entry.encoded = nil, r.rest[from:to:to]
			r.left--
			return true
		}
	}
	return false
}

// Led tells whether the event in hand has a lead in the frame.
func (r *Reader) Led() bool { return r.entry.encoded != nil && r.entry.lead > 0 }

// Read makes e, which must be zero, the event in hand.
func (r *Reader) Read(e *event.Event) error {
	if r.entry.encoded == nil {
		if len(r.own) > r.MaxEvent {
			return r.tooLarge(len(r.own))
		}
		return e.Read(r.own, r.own, event.FormFrame, r.Memory)
	}
	en := &r.entry
	if err := r.readEntry(); err != nil {
		return err
	}
	p := event.Parts{Shared: r.named, Present: en.present, Head: en.head}
	if en.lead > 0 {
		p.Lead = r.shared[en.lead-1]
	}
	return e.ReadParts(r.own, &p, r.Memory)
}

// readEntry reads the entry in hand. One that is malformed is an event that is.
func (r *Reader) readEntry() error {
	encoded := r.entry.encoded
	en := entry{encoded: encoded}
	for i := 0; i < len(encoded); {
		num, typ, n, from, to := wire.Field(encoded, i)
		if i = to; to == 0 {
			r.entry = entry{encoded: encoded}
			return wire.ErrMalformed
		}
		switch {
		case num == fieldEntryEvent && typ == wire.BytesType:
			r.own = encoded[from:to:to]
		case num == fieldEntryContexts && typ == wire.BytesType && en.refs == nil:
			en.refs = encoded[from:to:to]
		case num == fieldEntryContexts && typ == wire.BytesType: // another piece
			en.refs = append(en.refs, encoded[from:to]...)
		case num == fieldEntryContexts && typ == wire.VarintType: // not packed
			en.refs = protowire.AppendVarint(en.refs, n)
		case num == fieldEntryPresent && typ == wire.Fixed64Type:
			en.present = n
		case num == fieldEntryHead && typ == wire.VarintType:
			en.head = int(min(n, 1<<31))
		case num == fieldEntryLead && typ == wire.VarintType:
			en.lead = n
		}
	}
	if !r.Hints {
		en.present, en.head = 0, 0
	}
	r.entry = en
	return r.measure()
}

// entry is what a frame says about one event beside the event.
type entry struct {
	refs    []byte // numbers of contexts, packed
	present uint64
	head    int
	lead    uint64 // number of the context plus one; 0 = none
	encoded []byte // all of it; nil = the event stands in the frame without an entry
}

const (
	// maxNamed is how many contexts an event may name.
	maxNamed = 256
	// maxMerged bounds the contexts of a frame, counted for each event that names them, in multiples
	// of MaxDecoded: a stage may have to copy them into each of these events.
	maxMerged = 4
)

var errNumbers = errors.New("the numbers of the event's contexts are cut off or malformed")

// measure finds the contexts that the event in hand names, which must be there and fit the limits.
func (r *Reader) measure() error {
	en := &r.entry
	r.named = r.named[:0]
	if en.lead > uint64(len(r.shared)) {
		return r.noContext(en.lead - 1)
	}
	size := len(r.own)
	if en.lead > 0 {
		size += len(r.shared[en.lead-1].Encoded())
	}
	for i := 0; i < len(en.refs); {
		n, next := wire.Uvarint(en.refs, i)
		switch {
		case next == 0:
			return errNumbers
		case n >= uint64(len(r.shared)):
			return r.noContext(n)
		case len(r.named) == maxNamed:
			return fmt.Errorf("the event names more than %d contexts: %w", maxNamed, wire.ErrTooLarge)
		}
		i = next
		p := r.shared[n]
		size += len(p.Encoded())
		r.named = append(r.named, p)
	}
	switch {
	case size > r.MaxEvent:
		return r.tooLarge(size)
	case size-len(r.own) > r.room:
		return fmt.Errorf("the events of the frame have more than %d bytes of contexts: %w", maxMerged*r.MaxDecoded, wire.ErrTooLarge)
	}
	r.room -= size - len(r.own)
	return nil
}

func (r *Reader) tooLarge(size int) error {
	return fmt.Errorf("the event has %d bytes with its contexts, at most %d: %w", size, r.MaxEvent, wire.ErrTooLarge)
}

func (r *Reader) noContext(n uint64) error {
	return fmt.Errorf("the event names context %d of its frame, which has %d", n, len(r.shared))
}

// Refused returns a frame that holds the event in hand as it came. The event of an entry would be another one
// without its contexts, so the entry is kept, with the contexts that it names under new numbers, as long as there is
// room for them.
func (r *Reader) Refused() []byte {
	en := &r.entry
	if en.encoded == nil {
		return AppendEncoded(nil, r.own, 0)
	}
	header := Header{Count: 1}
	frame, kept := header.appendTo(nil), en.encoded
	if contexts, numbers, size := r.namedBy(en); len(contexts) > 0 && size <= r.room {
		r.room -= size
		for _, p := range contexts {
			frame = protowire.AppendBytes(protowire.AppendTag(frame, fieldFrameContexts, protowire.BytesType), p.Encoded())
		}
		kept = en.renumbered(numbers)
	}
	frame = protowire.AppendBytes(protowire.AppendTag(frame, fieldFrameEntries, protowire.BytesType), kept)
	return appendBlock(nil, frame)
}

// namedBy returns the contexts that an entry names, their numbers in a frame of their own, and their size.
func (r *Reader) namedBy(en *entry) (contexts []*event.Prepared, numbers map[uint64]uint64, size int) {
	numbers = map[uint64]uint64{}
	name := func(n uint64) {
		if _, ok := numbers[n]; ok || n >= uint64(len(r.shared)) {
			return
		}
		numbers[n] = uint64(len(contexts))
		contexts = append(contexts, r.shared[n])
		size += len(r.shared[n].Encoded())
	}
	if en.lead > 0 {
		name(en.lead - 1)
	}
	for i := 0; i < len(en.refs); {
		n, next := wire.Uvarint(en.refs, i)
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
		num, _, _, _, to := wire.Field(en.encoded, at)
		if num != fieldEntryContexts && num != fieldEntryLead {
			out = append(out, en.encoded[at:to]...)
		}
		at = to
	}
	for i := 0; i < len(en.refs); {
		n, next := wire.Uvarint(en.refs, i)
		if next == 0 {
			refs = append(refs, en.refs[i:]...)
			break
		}
		refs = protowire.AppendVarint(refs, number(n))
		i = next
	}
	out = wire.AppendBytes(out, fieldEntryContexts, refs)
	if en.lead > 0 {
		out = wire.AppendUint(out, fieldEntryLead, number(en.lead-1)+1)
	}
	return out
}
