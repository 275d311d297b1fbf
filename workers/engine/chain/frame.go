package chain

import (
	"strconv"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// pack adds e to the frame that is open at an outlet.
func (c *Chain) pack(cur *cursor, at *Outlet, q int, e *event.Event) {
	if !c.fresh(cur, at) {
		return
	}
	limits := &at.Node.Limits
	var o *Output
	if at.open != nil {
		o = at.open.Outputs[len(at.open.Outputs)-1]
		if o.Events >= limits.MaxEvents || o.Items.Size() >= c.maxItems() || o.frame.Size()+e.Size() > c.frameBytes(limits) {
			o = nil
		}
	}
	if o == nil {
		o = &Output{frame: c.writer(), Subject: at.Subject}
		stream, first := cur.origin()
		o.frame.Begin(frame.Header{Partition: uint32(q), InputStream: stream, InputFirst: first})
		cur.enqueue(at, o)
		o.trace = cur.m
	} else if o.Events == 1 {
		o.trace = nil
	}
	if e.Form() == event.FormFrame {
		o.trace = nil
	}
	o.frame.Add(e)
	o.Items.Add(cur.item())
	o.Events++
	o.Reach = append(o.Reach[:0], at.Packed...)
}

// frameBytes is the size of a frame before compression at most, so that it fits however badly it
// compresses. A single event may be larger.
func (c *Chain) frameBytes(of *Limits) int {
	if limit := int(c.maxPayload.Load()); limit > 0 {
		return min(of.MaxBytes, limit-frameMargin(limit))
	}
	return of.MaxBytes
}

// frameMargin is what headers and bad compression may add to a frame, where the server takes messages of limit bytes.
func frameMargin(limit int) int { return min(24<<10, limit/4) }

// maxItems bounds the list of what an output holds, in bytes: half of the margin.
func (c *Chain) maxItems() int {
	if limit := int(c.maxPayload.Load()); limit > 0 {
		return frameMargin(limit) / 2
	}
	return 12 << 10
}

// tooLargeAlone says whether a frame of e alone is more than the server takes.
func (c *Chain) tooLargeAlone(n *Node, e *event.Event) bool {
	limit := int(c.maxPayload.Load())
	if limit <= 0 {
		return false
	}
	limit -= c.headerRoom + alone
	if e.Size() <= c.frameBytes(&n.Limits) || e.Size() <= limit {
		return false
	}
	w := c.writer()
	defer c.putWriter(w)
	w.Begin(frame.Header{})
	w.Add(e)
	return len(w.AppendTo(nil)) > limit
}

// alone is the room for the other headers of a frame of one event.
const alone = 2 << 10

func (c *Chain) writer() *frame.Writer {
	if w, ok := c.writers.Get().(*frame.Writer); ok {
		return w
	}
	return &frame.Writer{Hints: true}
}

// maxWriter is how large a frame may have been whose writer is kept.
const maxWriter = 4 << 20

// putWriter gives a writer back. One that held an unusually large event is not kept.
func (c *Chain) putWriter(w *frame.Writer) {
	if w.Size() <= maxWriter {
		c.writers.Put(w)
	}
}

// Encode completes a frame: it compresses the events behind what is in buffer, and returns both. The goroutine that stores the
// step calls it.
func (c *Chain) Encode(o *Output, buffer []byte) []byte {
	buffer = o.frame.AppendTo(buffer)
	o.Data = buffer
	h := make(map[string][]string, 8)
	o.Header = h
	h[event.HeaderContentType] = []string{event.ContentTypeFrame}
	h[headerEvents] = []string{strconv.Itoa(o.Events)}
	if marks := o.frame.Marks(); marks != "" {
		h[frame.HeaderMarked] = []string{marks}
	}
	if o.trace != nil && o.Events == 1 {
		for _, key := range [2]string{HeaderTraceparent, HeaderTracestate} {
			if v := o.trace.Header[key]; len(v) > 0 && v[0] != "" && len(v[0]) <= MaxTraceHeader {
				h[key] = []string{v[0]}
			}
		}
	}
	c.putWriter(o.frame)
	o.frame = nil
	return buffer
}
