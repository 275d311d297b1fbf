package engine

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/event"
)

// pack collects the events of one port and partition that leave in one frame.
type pack struct {
	port, partition int
	events          []*event.Event
	bytes           int
	// sources are the messages that the events came in, each once, oldest first.
	sources []*message
	// content is the hash of the origins of received events, or of the ids of new ones.
	content digest
	// produced says that the events are new.
	produced bool
}

func (p *pack) add(e *event.Event, m *message) {
	p.events = append(p.events, e)
	p.bytes += e.Size() + 4 // and its tag and length
	p.content = p.content.origin(e.Origin)
	if n := len(p.sources); n == 0 || p.sources[n-1] != m {
		p.sources = append(p.sources, m)
	}
}

func (p *pack) reset() {
	clear(p.events)
	clear(p.sources)
	p.events, p.sources, p.bytes, p.content, p.produced = p.events[:0], p.sources[:0], 0, 0, false
}

// first names the input stream and sequence that a frame is called after.
func (p *pack) span(inputs []*input) (stream string, first, last uint64) {
	if len(p.sources) == 0 {
		return "flush", 0, 0 // made without input: by the clock
	}
	in := p.sources[0].in
	first, last = p.sources[0].seq, p.sources[0].seq
	for _, m := range p.sources {
		if m.in == in {
			first, last = min(first, m.seq), max(last, m.seq)
		}
	}
	return inputs[in.index].cfg.Stream, first, last
}

// publishPack publishes the events of p in one frame, or in several where one is too large
// for the connection. Every source is held until all of them are stored.
func (r *router) publishPack(ctx context.Context, p *pack) {
	if len(p.events) == 0 {
		return
	}
	to := &r.e.ports.all[p.port]
	stream, first, last := p.span(r.e.inputs)
	buffer := r.e.buffer()
	body := event.AppendFrame((*buffer)[:0], event.FrameHeader{
		Partition: uint32(p.partition), InputStream: stream, InputFirst: first, InputLast: last,
	}, p.events...)
	*buffer = body
	h := make(nats.Header, 4)
	h[event.HeaderContentType] = []string{event.ContentTypeFrame}
	h[headerEvents] = []string{strconv.Itoa(len(p.events))}
	h[nats.MsgIdHdr] = []string{frameID(r.e.cfg.Stage, stream, first, to.name, p.partition, p.content)}
	carryTrace(h, p)
	msg := &nats.Msg{Subject: to.subjects[p.partition], Header: h, Data: body}
	if r.e.tooLarge(msg) {
		r.e.buffers.Put(buffer)
		r.split(ctx, p)
		return
	}
	o := &output{msg: msg, stream: to.out.Stream, events: len(p.events), buffer: buffer, sources: holdEach(p.sources)}
	if p.produced {
		o.produced = to.name
	}
	_ = r.e.pub.publish(ctx, o) // not sent: the sources stay held and are given back
}

// split publishes the halves of p; an event that is too large alone is dead-lettered.
func (r *router) split(ctx context.Context, p *pack) {
	if len(p.events) == 1 {
		r.oversized(ctx, p)
		return
	}
	mid := len(p.events) / 2
	for _, events := range [][]*event.Event{p.events[:mid], p.events[mid:]} {
		half := &pack{port: p.port, partition: p.partition, produced: p.produced}
		half.events, half.sources = events, p.sources
		for _, e := range events {
			half.content = half.content.of(e, p.produced)
		}
		r.publishPack(ctx, half)
	}
}

// carryTrace passes on the trace context of a message that holds one event, for those who
// read headers only.
func carryTrace(h nats.Header, p *pack) {
	if len(p.events) != 1 || len(p.sources) != 1 || p.events[0].Form() == event.FormFrame {
		return
	}
	for _, key := range [2]string{"traceparent", "tracestate"} {
		if v := p.sources[0].header.Get(key); v != "" {
			h.Set(key, v)
		}
	}
}

// holdEach holds every message once more and returns them in memory of their own.
func holdEach(messages []*message) []*message {
	if len(messages) == 0 {
		return nil
	}
	held := append([]*message(nil), messages...)
	for _, m := range held {
		m.hold(1)
	}
	return held
}

// buffer returns memory for a frame.
func (e *Engine) buffer() *[]byte {
	if b, ok := e.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

// tooLarge says whether the server would refuse m.
func (e *Engine) tooLarge(m *nats.Msg) bool {
	limit := e.conn.MaxPayload()
	return limit > 0 && int64(len(m.Data)+headerSize(m.Header)) > limit
}

// headerSize is the encoded size of h, which counts as payload.
func headerSize(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}
