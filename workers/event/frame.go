package event

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
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

// FrameHeader is what a frame says about itself. Count, MinTime and MaxTime are filled in
// by FrameWriter.
type FrameHeader struct {
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

func (h *FrameHeader) appendTo(b []byte) []byte {
	b = appendUint(b, 1, frameVersion)
	b = appendUint(b, 2, uint64(h.Count))
	b = appendUint(b, 3, uint64(h.Partition))
	b = appendFixed(b, 4, uint64(h.MinTime))
	b = appendFixed(b, 5, uint64(h.MaxTime))
	b = appendText(b, 6, h.InputStream)
	b = appendUint(b, 7, h.InputFirst)
	return appendUint(b, 8, h.InputLast)
}

// frameHeaderSize bounds the encoded header without its stream name.
const frameHeaderSize = 80

// FrameWriter builds one frame after another: Begin, Add for each event, AppendTo. It keeps
// its buffer. It copies what is added at once.
type FrameWriter struct {
	// Hints has every event written with what readers use to look at a few of its fields.
	Hints bool

	header FrameHeader
	buf    []byte // room for the header, then the events
	room   int
	// contexts are what several events share, encoded, order and index say which is which. entries
	// says that the events are written as entries, which name them.
	contexts []byte
	order    []*Prepared
	index    map[*Prepared]int
	entries  bool
	// marks are the positions of the marked events; unmarked says that they are not known.
	marks    []int
	unmarked bool
}

// Begin starts a frame. Count, MinTime and MaxTime of h are ignored.
func (w *FrameWriter) Begin(h FrameHeader) {
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
func (w *FrameWriter) Add(e *Event) {
	if e.Marked() && len(w.marks) <= maxMarks {
		w.marks = append(w.marks, w.Len())
	}
	w.counted(e.Time)
	if e.lead != nil || e.sharing > 0 || w.Hints {
		w.entries = true
	}
	own, first, second := len(e.raw)+len(e.patch), e.raw, e.patch
	head := e.head
	if e.early {
		first, second = second, first
		head += len(e.patch)
	}
	if !w.entries {
		w.buf = protowire.AppendTag(w.buf, fieldFrameEvents, protowire.BytesType)
		w.buf = protowire.AppendVarint(w.buf, uint64(own))
	} else {
		var s [5 * maxShared]byte
		refs := s[:0]
		for _, p := range e.shared[:e.sharing] {
			refs = protowire.AppendVarint(refs, uint64(w.context(p)))
		}
		size := 1 + protowire.SizeBytes(own)
		if len(refs) > 0 {
			size += 1 + protowire.SizeBytes(len(refs))
		}
		if head > 0 {
			size += 1 + 8 + 1 + protowire.SizeVarint(uint64(head))
		}
		lead := 0
		if e.lead != nil {
			lead = w.context(e.lead) + 1
			size += 1 + protowire.SizeVarint(uint64(lead))
		}
		w.buf = protowire.AppendTag(w.buf, fieldFrameEntries, protowire.BytesType)
		w.buf = protowire.AppendVarint(w.buf, uint64(size))
		if len(refs) > 0 {
			w.buf = protowire.AppendTag(w.buf, fieldEntryContexts, protowire.BytesType)
			w.buf = protowire.AppendBytes(w.buf, refs)
		}
		if head > 0 {
			w.buf = protowire.AppendTag(w.buf, fieldEntryPresent, protowire.Fixed64Type)
			w.buf = protowire.AppendFixed64(w.buf, e.own)
			w.buf = protowire.AppendTag(w.buf, fieldEntryHead, protowire.VarintType)
			w.buf = protowire.AppendVarint(w.buf, uint64(head))
		}
		if lead > 0 {
			w.buf = protowire.AppendTag(w.buf, fieldEntryLead, protowire.VarintType)
			w.buf = protowire.AppendVarint(w.buf, uint64(lead))
		}
		w.buf = protowire.AppendTag(w.buf, fieldEntryEvent, protowire.BytesType)
		w.buf = protowire.AppendVarint(w.buf, uint64(own))
	}
	w.buf = append(append(w.buf, first...), second...)
}

// context returns the number of p among the contexts of the frame.
func (w *FrameWriter) context(p *Prepared) int {
	// Mostly the writer that numbered it last is this one.
	if i := p.number.Load(); int(i) < len(w.order) && w.order[i] == p {
		return int(i)
	}
	if i, ok := w.index[p]; ok {
		p.number.Store(uint32(i))
		return i
	}
	if w.index == nil {
		w.index = map[*Prepared]int{}
	}
	i := len(w.order)
	w.order = append(w.order, p)
	w.index[p] = i
	p.number.Store(uint32(i))
	w.contexts = protowire.AppendTag(w.contexts, fieldFrameContexts, protowire.BytesType)
	w.contexts = protowire.AppendBytes(w.contexts, p.encoded)
	return i
}

// AddEncoded adds an encoded millrace.event.v1.Event that happened at time (Unix
// nanoseconds; 0 = unknown).
func (w *FrameWriter) AddEncoded(encoded []byte, time int64) {
	w.Add(&Event{raw: encoded, Time: time})
	w.unmarked = true // nobody has looked into it
}

func (w *FrameWriter) counted(time int64) {
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
func (w *FrameWriter) Len() int { return int(w.header.Count) }

// Size is the size of the frame before compression, in bytes.
func (w *FrameWriter) Size() int { return len(w.buf) + len(w.contexts) }

// Header returns the header as it stands.
func (w *FrameWriter) Header() FrameHeader {
	h := w.header
	h.Version = frameVersion
	return h
}

// AppendTo appends the finished frame, compressed. The writer can Begin the next one.
func (w *FrameWriter) AppendTo(dst []byte) []byte {
	w.buf = append(w.buf, w.contexts...)
	return appendBlock(dst, w.encoded())
}

// encoded returns the frame before compression: the header right before the events.
func (w *FrameWriter) encoded() []byte {
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

var writers = sync.Pool{New: func() any { return &FrameWriter{} }}

// AppendFrame appends a frame of events. It is FrameWriter with a writer from a pool.
func AppendFrame(dst []byte, h FrameHeader, events ...*Event) []byte {
	w := writers.Get().(*FrameWriter)
	defer writers.Put(w)
	w.Begin(h)
	for _, e := range events {
		w.Add(e)
	}
	return w.AppendTo(dst)
}

// appendFrameOf appends a frame of one encoded event.
func appendFrameOf(dst, encoded []byte, time int64) []byte {
	w := writers.Get().(*FrameWriter)
	defer writers.Put(w)
	w.Begin(FrameHeader{})
	w.AddEncoded(encoded, time)
	return w.AppendTo(dst)
}
