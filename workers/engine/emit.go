package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// Headers of the project on NATS messages.
const (
	headerEvents    = event.HeaderEvents
	headerReason    = "Millrace-Reason"
	headerStage     = "Millrace-Stage"
	headerAttempts  = "Millrace-Attempts"
	headerError     = "Millrace-Error"
	headerStream    = "Millrace-Stream"
	headerSubject   = "Millrace-Subject"
	headerSequence  = "Millrace-Sequence"
	headerIndex     = "Millrace-Index"
	headerTime      = "Millrace-Time"
	headerTruncated = "Millrace-Truncated"
	headerFullSize  = "Millrace-Size"
)

// scene is where in the input a lane is: what it makes now follows from that.
type scene struct {
	s *step
	m *message // nil in a flush
	// messages are those of s; k is the number of m, first that of the first message of the scene.
	messages []*message
	k, first int
	// now is the stream time.
	now time.Time
	// partition is that of m, or noPartition.
	partition int
	// second says that the stages of the second half are at it.
	second bool
	bad    []event.Undecodable // of m, not yet dead-lettered
	// in and at are the input and the position of what is made next; at.index grows.
	in int
	at progress.Position
	// made names what is made next, when that is a new event; 0 = it was received.
	made uint64
	// replayed says that all of this is stored already.
	replayed bool
}

// enqueue appends o to what the step stores on t.
func (sc *scene) enqueue(t *track, o *output) {
	if t.open == nil {
		t.open = &queue{track: t}
		if sc.second {
			sc.s.later = append(sc.s.later, t.open)
		} else {
			sc.s.queues = append(sc.s.queues, t.open)
		}
	}
	t.open.outputs = append(t.open.outputs, o)
}

// item is what is made next.
func (sc *scene) item() progress.Item {
	if sc.made != 0 {
		return progress.Item{Made: sc.made}
	}
	return progress.Item{Input: sc.in, Seq: sc.at.Seq, Index: sc.at.Index}
}

// fresh says whether the item of the scene is still to be stored on t, and notes that it will be. What is stored of the step in
// doubt does not come here (lane.went).
func (l *lane) fresh(sc *scene, t *track) bool {
	if sc.replayed {
		return false
	}
	if !l.doubt.Fresh(t.number, sc.in, sc.at) {
		sc.skip(t)
		return false
	}
	if sc.at.After(t.packed[sc.in]) {
		t.packed[sc.in] = sc.at
	}
	return true
}

// skip counts the item of the scene as stored before.
func (sc *scene) skip(t *track) {
	tl := &sc.s.tallies[t.node.index]
	tl.skips = addTo(tl.skips, t.port.out.Stream, 1)
}

// went says where the item of the scene went at node n when its step was tried before: on track t, when it is stored.
func (l *lane) went(sc *scene, n *node) (where progress.Where, t *track) {
	if sc.replayed {
		return progress.Unknown, nil
	}
	where, number := l.doubt.Went(n.index, sc.in, sc.at, sc.item())
	if where == progress.Stored {
		t = l.numbered[number]
		sc.skip(t)
	}
	return where, t
}

// storedBefore says whether node n stored the item of the scene when its step was tried before, and on which track.
func (l *lane) storedBefore(sc *scene, n *node, on **track) bool {
	where, t := l.went(sc, n)
	*on = t
	return where == progress.Stored
}

// emit sends e, which node n received, out through a port of n.
func (l *lane) emit(sc *scene, n *node, e *event.Event, name string) (out bool) {
	t := &sc.s.tallies[n.index]
	if name == "" {
		name = config.PortOut
	}
	p, ok := n.ports.find(name)
	if !ok {
		if name == config.PortOut && len(n.children) > 0 {
			t.emitted++
			t.out++
			return true // not stored: only the chain reads it
		}
		l.deadLetter(sc, n, e, reasonUnknownPort, errUnknownPort(name), 1)
		return false
	}
	if err := l.publish(sc, n, p, e, false); err != nil {
		l.deadLetter(sc, n, e, reasonTooLarge, err, 1)
		return false
	}
	t.emitted++
	if name == config.PortOut {
		t.out++
	}
	return name == config.PortOut
}

// publish puts e on the track of a port. The error says that it is too large for that.
func (l *lane) publish(sc *scene, n *node, p int, e *event.Event, isNew bool) error {
	tracks := l.tracks[n.index]
	if p >= n.ports.frames {
		t := tracks[n.ports.trackOf(p, 0)]
		body, contentType := l.singleBody(t, e)
		return l.single(sc, t, e, body, contentType, isNew)
	}
	if l.tooLargeAlone(n, e) {
		return l.errTooLarge(e.Size())
	}
	q := l.index
	if l.e.cfg.Lanes == 1 {
		q = e.PartitionOf(n.cfg.Partitions)
	}
	l.pack(sc, tracks[n.ports.trackOf(p, q)], q, e, isNew)
	return nil
}

func (l *lane) errTooLarge(size int) error {
	return fmt.Errorf("the event takes %d bytes: more than max_payload of the NATS server, %d", size, l.payload.Load())
}

// pack adds e to the frame that is open on t.
func (l *lane) pack(sc *scene, t *track, q int, e *event.Event, isNew bool) {
	if !l.fresh(sc, t) {
		return
	}
	limits := &t.node.limits
	var o *output
	if t.open != nil {
		o = t.open.outputs[len(t.open.outputs)-1]
		if o.events >= limits.maxEvents || o.items.Size() >= l.maxItems() || o.frame.Size()+e.Size() > l.frameBytes(limits) {
			o = nil
		}
	}
	if o == nil {
		o = &output{frame: l.writer(), msg: &nats.Msg{Subject: t.subject}}
		stream, first := l.originOf(sc)
		o.frame.Begin(event.FrameHeader{Partition: uint32(q), InputStream: stream, InputFirst: first})
		sc.enqueue(t, o)
		o.trace = sc.m
	} else if o.events == 1 {
		o.trace = nil
	}
	if e.Form() == event.FormFrame {
		o.trace = nil
	}
	o.frame.Add(e)
	o.items.Add(sc.item())
	o.events++
	o.reach = append(o.reach[:0], t.packed...)
	if isNew {
		o.produced++
	}
}

func (l *lane) originOf(sc *scene) (stream string, first uint64) {
	if sc.m == nil {
		return "flush", 0
	}
	return sc.m.in.cfg.Stream, sc.m.seq
}

// frameBytes is the size of a frame before compression at most, so that it fits however badly it
// compresses. A single event may be larger.
func (l *lane) frameBytes(of *limits) int {
	if limit := int(l.payload.Load()); limit > 0 {
		return min(of.maxBytes, limit-frameMargin(limit))
	}
	return of.maxBytes
}

// frameMargin is what headers and bad compression may add to a frame, where the server takes messages of limit bytes.
func frameMargin(limit int) int { return min(24<<10, limit/4) }

// maxItems bounds the list of what an output holds, in bytes: half of the margin.
func (l *lane) maxItems() int {
	if limit := int(l.payload.Load()); limit > 0 {
		return frameMargin(limit) / 2
	}
	return 12 << 10
}

// single publishes one event as a message of its own, which is body. The error says that it is too large: whether
// it is must not hang on what is stored already.
func (l *lane) single(sc *scene, t *track, e *event.Event, body []byte, contentType string, isNew bool) error {
	msg := &nats.Msg{Subject: t.subjectOf(e.Severity), Header: nats.Header{headerEvents: {"1"}}, Data: body}
	if contentType != "" {
		msg.Header[event.HeaderContentType] = []string{contentType}
	}
	if l.e.tooLarge(msg) {
		return l.errTooLarge(len(body))
	}
	if !l.fresh(sc, t) {
		return nil
	}
	o := &output{events: 1, reach: slices.Clone(t.packed), msg: msg}
	o.items.Add(sc.item())
	if isNew {
		o.produced = 1
	}
	sc.enqueue(t, o)
	return nil
}

// singleBody is an event in the form that a port takes. An event that cannot be written as
// a CloudEvent leaves as it came.
func (l *lane) singleBody(t *track, e *event.Event) (body []byte, contentType string) {
	if t.port.out.Format == config.FormatCloudEvent {
		if body, err := e.AppendCloudEvent(nil); err == nil {
			return body, event.ContentTypeCloudEvent
		}
	}
	return e.AppendReceived(nil)
}

// produce publishes the new events that node n made, and returns those of port out.
func (l *lane) produce(sc *scene, n *node, made []stage.Produced) {
	base := progress.ProducedIndex(n.depth)
	for i := range made {
		e := l.encode(n, made[i].Event)
		sc.at.Index, sc.made = base+uint32(i), nameOf(&e)
		e.Origin = event.Origin{Input: sc.in, Sequence: sc.at.Seq, Index: int(sc.at.Index), Made: sc.made}
		name := made[i].Port
		var before *track
		t := &sc.s.tallies[n.index]
		p, ok := n.ports.find(name)
		switch {
		case ok && l.storedBefore(sc, n, &before):
			t.produced = addTo(t.produced, before.port.name, 1)
			if before.port.name == config.PortDeadLetter { // it was too large
				continue
			}
			if before.port.name == config.PortOut {
				t.out++
			}
		case ok:
			if err := l.publishNew(sc, n, p, &e, made[i].Event); err != nil {
				t.produced = addTo(t.produced, config.PortDeadLetter, 1)
				t.deadLettered-- // which counts received events
				l.deadLetter(sc, n, &e, reasonTooLarge, err, 1)
				continue
			}
			t.produced = addTo(t.produced, n.ports.all[p].name, 1)
			if n.ports.all[p].name == config.PortOut {
				t.out++
			}
		case (name == "" || name == config.PortOut) && len(n.children) > 0:
			t.produced = addTo(t.produced, config.PortOut, 1)
			t.out++
		default:
			l.log.Error("the stage made an event for a port that it does not have", "stage", n.cfg.Stage, "port", name, "event", e.ID)
			continue
		}
		if name == "" || name == config.PortOut {
			l.scratch[n.index].made = append(l.scratch[n.index].made, e)
		}
	}
}

// nameOf names a new event: by its id, or by all of it where it has none.
func nameOf(e *event.Event) uint64 {
	name := xxh3.HashString(e.Type + "\x00" + e.ID)
	if e.ID == "" {
		name = xxh3.Hash(e.AppendProto(nil))
	}
	return max(name, 1)
}

// publishNew publishes a new event; as a CloudEvent it is written from its message, with less detail where it is
// too large. The error says that it is too large all the same.
func (l *lane) publishNew(sc *scene, n *node, p int, e *event.Event, m *eventv1.Event) error {
	if n.ports.all[p].out.Format != config.FormatCloudEvent {
		return l.publish(sc, n, p, e, true)
	}
	t := l.tracks[n.index][n.ports.trackOf(p, 0)]
	var err error
	for _, less := range smaller {
		if err = l.single(sc, t, e, event.AppendCloudEvent(nil, less(m)), event.ContentTypeCloudEvent, true); err == nil {
			return nil
		}
	}
	return err
}

// tooLargeAlone says whether a frame of e alone is more than the server takes.
func (l *lane) tooLargeAlone(n *node, e *event.Event) bool {
	limit := int(l.payload.Load())
	if limit <= 0 {
		return false
	}
	limit -= l.e.trackHeaders() + alone
	if e.Size() <= l.frameBytes(&n.limits) || e.Size() <= limit {
		return false
	}
	w := l.writer()
	defer l.putWriter(w)
	w.Begin(event.FrameHeader{})
	w.Add(e)
	return len(w.AppendTo(nil)) > limit
}

// alone is the room for the other headers of a frame of one event.
const alone = 2 << 10

// encode makes an event of what a stage produced. Text that is not UTF-8, which a stage
// may have copied from an event, is mended: protobuf does not carry it.
func (l *lane) encode(n *node, m *eventv1.Event) event.Event {
	out, err := event.FromProto(m, event.Origin{})
	if err == nil {
		return out
	}
	mendText(m.ProtoReflect())
	if out, err = event.FromProto(m, event.Origin{}); err != nil {
		l.log.Error("an event that the stage made cannot be encoded", "stage", n.cfg.Stage, "event", strings.ToValidUTF8(m.GetId(), "?"), "error", err)
	}
	return out
}

// header completes the headers of o.
func (l *lane) header(s *step, o *output, since uint64) {
	h := o.msg.Header
	if h == nil {
		h = make(nats.Header, 8)
		o.msg.Header = h
		h[event.HeaderContentType] = []string{event.ContentTypeFrame}
		h[headerEvents] = []string{strconv.Itoa(o.events)}
		if o.marks != "" {
			h[event.HeaderMarked] = []string{o.marks}
		}
		if o.trace != nil && o.events == 1 {
			for _, key := range [2]string{headerTraceparent, headerTracestate} {
				if v := o.trace.header.Get(key); v != "" && len(v) <= maxTraceHeader {
					h.Set(key, v)
				}
			}
		}
	}
	h[headerOwner] = []string{l.owner}
	h[headerPosition] = []string{string(progress.AppendReach(nil, l.places, o.reach))}
	o.number = l.nextAttempt()
	of := progress.Output{Number: o.number, Since: since, Items: &o.items, Done: s.done}
	h[headerStep] = []string{string(of.Append(nil, l.places))}
}

// tooLarge says whether the server would refuse m.
func (e *Engine) tooLarge(m *nats.Msg) bool {
	headers, limit := headerSize(m.Header)+e.trackHeaders(), e.conn.MaxPayload()
	return headers > maxHeaders || limit > 0 && int64(len(m.Data)+headers) > limit
}

// maxHeaders is the size of the headers of a message that JetStream stores at most (nats-server,
// server/stream.go: hdr length of 16 bits).
const maxHeaders = 1<<16 - 1

// maxTraceHeader bounds the trace context that a message of frames carries: a longer one is not passed on.
// W3C Trace Context has vendors pass on 512 characters of tracestate at least.
const maxTraceHeader = 512

// trackHeaders is the room for the headers that are added when a message is published: each input has its name and the
// identity of its stream three times in them, and two positions.
func (e *Engine) trackHeaders() int {
	room := 512
	for _, in := range e.cfg.Inputs {
		room += 3*(len(in.From)+maxIdentity) + 2*maxPosition
	}
	return room
}

const (
	maxIdentity = 64 // of a stream, with what stands around it
	maxPosition = 52 // three numbers
)

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

func timeOf(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
