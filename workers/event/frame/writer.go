package frame

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// frameVersion is the version of the frame layout that is written and read.
const frameVersion = 1

const (
	fieldFrameContexts = 14
	fieldFrameEvents   = 15
	fieldFrameEntries  = 16

	fieldEntryEvent    = 1
	fieldEntryContexts = 2
	fieldEntryPresent  = 3
	fieldEntryHead     = 4
	fieldEntryLead     = 5
)

// Header is what a frame says about itself. Count, MinTime and MaxTime are filled in
// by Writer.
type Header struct {
	Version   uint32
	Count     uint32
	Partition uint32
	// MinTime and MaxTime are the earliest and latest event time, Unix nanoseconds; 0 when
	// no event has a time.
	MinTime, MaxTime int64
	// InputStream, InputFirst and InputLast name the messages that the frame was made from.
	InputStream           string
	InputFirst, InputLast uint64
}

func (h *Header) appendTo(b []byte) []byte {
	b = wire.AppendUint(b, 1, frameVersion)
	b = wire.AppendUint(b, 2, uint64(h.Count))
	b = wire.AppendUint(b, 3, uint64(h.Partition))
	b = wire.AppendFixed(b, 4, uint64(h.MinTime))
	b = wire.AppendFixed(b, 5, uint64(h.MaxTime))
	b = wire.AppendText(b, 6, h.InputStream)
	b = wire.AppendUint(b, 7, h.InputFirst)
	return wire.AppendUint(b, 8, h.InputLast)
}

// frameHeaderSize bounds the encoded header without its stream name.
const frameHeaderSize = 80

// Writer builds one frame after another: Begin, Add for each event, AppendTo. It keeps
// its buffer. It copies what is added at once.
type Writer struct {
	// Hints has every event written with what readers use to look at a few of its fields.
	Hints bool

	header Header
	buf    []byte // room for the header, then the events
	room   int
	// contexts are what several events share, encoded, order and index say which is which. entries
	// says that the events are written as entries, which name them.
	contexts []byte
	order    []*event.Prepared
	index    map[*event.Prepared]int
	entries  bool
	// marks are the positions of the marked events; unmarked says that they are not known.
	marks    []int
	unmarked bool
}

// Begin starts a frame. Count, MinTime and MaxTime of h are ignored.
func (w *Writer) Begin(h Header) {
	h.Count, h.MinTime, h.MaxTime = 0, 0, 0
	w.header = h
	w.room = frameHeaderSize + len(h.InputStream)
	w.buf = append(w.buf[:0], make([]byte, w.room)...)
	clear(w.index)
	clear(w.order)
	w.order = w.order[:0]
	w.contexts, w.entries = w.contexts[:0], false
	w.marks, w.unmarked = w.marks[:0], false
}

// Add adds an event with what was appended to it. What it shares with others is written once.
func (w *Writer) Add(e *event.Event) {
	if e.Marked() && len(w.marks) <= maxMarks {
		w.marks = append(w.marks, w.Len())
	}
	w.counted(e.Time)
	lead, behind := e.Shared()
	if lead != nil || len(behind) > 0 || w.Hints {
		w.entries = true
	}
	first, second := e.Encoded()
	if !w.entries {
		w.plain(len(first) + len(second))
	} else {
		var s [aboutSize]byte
		w.entry(w.about(s[:0], e), len(first)+len(second))
	}
	w.buf = append(append(w.buf, first...), second...)
}

// aboutSize is room for what an entry says beside its event.
const aboutSize = 96

// plain begins an event of so many bytes, which stands in the frame alone.
func (w *Writer) plain(size int) {
	w.buf = protowire.AppendTag(w.buf, fieldFrameEvents, protowire.BytesType)
	w.buf = protowire.AppendVarint(w.buf, uint64(size))
}

// entry begins an event of so many bytes, which stands in an entry behind what that says about it.
func (w *Writer) entry(about []byte, size int) {
	w.buf = protowire.AppendTag(w.buf, fieldFrameEntries, protowire.BytesType)
	w.buf = protowire.AppendVarint(w.buf, uint64(len(about)+1+protowire.SizeBytes(size)))
	w.buf = append(w.buf, about...)
	w.buf = protowire.AppendTag(w.buf, fieldEntryEvent, protowire.BytesType)
	w.buf = protowire.AppendVarint(w.buf, uint64(size))
}

// about appends what an entry says about an event: what it shares with others, and hints.
func (w *Writer) about(b []byte, e *event.Event) []byte {
	lead, behind := e.Shared()
	if len(behind) > 0 {
		var s [aboutSize]byte
		refs := s[:0]
		for _, p := range behind {
			refs = protowire.AppendVarint(refs, uint64(w.context(p)))
		}
		b = protowire.AppendTag(b, fieldEntryContexts, protowire.BytesType)
		b = protowire.AppendBytes(b, refs)
	}
	if present, head := e.Hints(); head > 0 {
		b = protowire.AppendTag(b, fieldEntryPresent, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, present)
		b = protowire.AppendTag(b, fieldEntryHead, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(head))
	}
	if lead != nil {
		b = protowire.AppendTag(b, fieldEntryLead, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(w.context(lead)+1))
	}
	return b
}

// context returns the number of p among the contexts of the frame.
func (w *Writer) context(p *event.Prepared) int {
	// Mostly the writer that numbered it last is this one.
	if i := p.Number.Load(); int(i) < len(w.order) && w.order[i] == p {
		return int(i)
	}
	if i, ok := w.index[p]; ok {
		p.Number.Store(uint32(i))
		return i
	}
	if w.index == nil {
		w.index = map[*event.Prepared]int{}
	}
	i := len(w.order)
	w.order = append(w.order, p)
	w.index[p] = i
	p.Number.Store(uint32(i))
	w.contexts = protowire.AppendTag(w.contexts, fieldFrameContexts, protowire.BytesType)
	w.contexts = protowire.AppendBytes(w.contexts, p.Encoded())
	return i
}

// AddEncoded adds an encoded millrace.event.v1.Event that happened at time (Unix
// nanoseconds; 0 = unknown).
func (w *Writer) AddEncoded(encoded []byte, time int64) {
	w.counted(time)
	w.entries = w.entries || w.Hints
	if !w.entries {
		w.plain(len(encoded))
	} else {
		w.entry(nil, len(encoded))
	}
	w.buf = append(w.buf, encoded...)
	w.unmarked = true // nobody has looked into it
}

func (w *Writer) counted(time int64) {
	w.header.Count++
	if time == 0 {
		return
	}
	if w.header.MinTime == 0 || time < w.header.MinTime {
		w.header.MinTime = time
	}
	if w.header.MaxTime == 0 || time > w.header.MaxTime {
		w.header.MaxTime = time
	}
}

// Len is the number of events added.
func (w *Writer) Len() int { return int(w.header.Count) }

// Size is the size of the frame before compression, in bytes.
func (w *Writer) Size() int { return len(w.buf) + len(w.contexts) }

// Header returns the header as it stands.
func (w *Writer) Header() Header {
	h := w.header
	h.Version = frameVersion
	return h
}

// AppendTo appends the finished frame, compressed. The writer can Begin the next one.
func (w *Writer) AppendTo(dst []byte) []byte {
	w.buf = append(w.buf, w.contexts...)
	return appendBlock(dst, w.encoded())
}

// encoded returns the frame before compression: the header right before the events.
func (w *Writer) encoded() []byte {
	var stack [frameHeaderSize + 64]byte
	h := w.header.appendTo(stack[:0])
	start := w.room - len(h)
	copy(w.buf[start:], h)
	return w.buf[start:]
}

// appendBlock appends src as one S2 block.
func appendBlock(dst, src []byte) []byte {
	n := s2.MaxEncodedLen(len(src))
	if n < 0 {
		panic(fmt.Sprintf("event: a frame of %d bytes is larger than S2 can hold", len(src)))
	}
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, len(dst)+n), dst...)
	}
	block := s2.Encode(dst[len(dst):len(dst)+n], src)
	return dst[:len(dst)+len(block)]
}

var writers = sync.Pool{New: func() any { return &Writer{} }}

// Append appends a frame of events. It is Writer with a writer from a pool.
func Append(dst []byte, h Header, events ...*event.Event) []byte {
	w := writers.Get().(*Writer)
	defer writers.Put(w)
	w.Begin(h)
	for _, e := range events {
		w.Add(e)
	}
	return w.AppendTo(dst)
}

// AppendEncoded appends a frame of one encoded event.
func AppendEncoded(dst, encoded []byte, time int64) []byte {
	w := writers.Get().(*Writer)
	defer writers.Put(w)
	w.Begin(Header{})
	w.AddEncoded(encoded, time)
	return w.AppendTo(dst)
}
