package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
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

// router turns what was decided into messages. A lane has one.
type router struct {
	e *Engine
	// packs are numbered port * partitions + partition; open lists those that are not empty.
	packs []pack
	open  []int
	made  []event.Event // the events of new ones, while their frames are built
}

func newRouter(e *Engine) router {
	r := router{e: e, packs: make([]pack, e.ports.frames*e.cfg.Partitions)}
	for i := range r.packs {
		r.packs[i].port, r.packs[i].partition = i/e.cfg.Partitions, i%e.cfg.Partitions
	}
	return r
}

// route publishes everything that was decided about g, except what is processed again,
// and lets go of its messages.
func (r *router) route(ctx context.Context, g *group) {
	for k, m := range g.messages {
		s := g.spans[k]
		if s.frame {
			r.flushPacks(ctx) // what a frame becomes depends on nothing else
		}
		for i := s.lo; i < s.hi; i++ {
			r.event(ctx, g, i, m)
		}
		if s.frame {
			r.flushPacks(ctx)
		}
	}
	for i := range g.bad {
		r.undecodable(ctx, &g.bad[i], g.badOf[i])
	}
	r.flushPacks(ctx)
	r.publishProduced(ctx, g.produced, g.messages)
	clear(g.produced)
	g.produced = g.produced[:0]
	for _, m := range g.messages {
		m.done()
	}
}

// routeAgain does the same for events that were processed again.
func (r *router) routeAgain(ctx context.Context, g *group, indices []int) {
	var last *message
	for _, i := range indices {
		m := g.of(i)
		if m != last && g.events[i].Form() == event.FormFrame {
			r.flushPacks(ctx)
		}
		last = m
		r.event(ctx, g, i, m)
	}
	r.flushPacks(ctx)
	var sources []*message
	for m := range g.messagesOf(indices) {
		sources = append(sources, m)
	}
	r.publishProduced(ctx, g.produced, sources)
	clear(g.produced)
	g.produced = g.produced[:0]
	g.release(indices)
}

// event does what was decided about event i of g, which came in m.
func (r *router) event(ctx context.Context, g *group, i int, m *message) {
	d := &g.decisions[i]
	switch d.Verdict {
	case stage.Emit:
		r.emit(ctx, g, i, m)
	case stage.Filter:
		m.tally.filtered++
	case stage.Duplicate:
		m.tally.duplicates++
	case stage.DeadLetter:
		r.deadLetter(ctx, &g.events[i], m, d.Reason, d.Err, max(g.tried[i], 1))
	case stage.Retry: // later
	}
}

func (r *router) emit(ctx context.Context, g *group, i int, m *message) {
	e, name := &g.events[i], g.decisions[i].Port
	n, ok := r.e.ports.find(name)
	if !ok {
		err := fmt.Errorf("the stage sent the event to port %q, which it does not have", name)
		r.deadLetter(ctx, e, m, reasonUnknownPort, err, 1)
		return
	}
	m.tally.emitted++
	if name == "" || name == config.PortOut {
		m.tally.out++
	}
	if n >= r.e.ports.frames {
		to := &r.e.ports.all[n]
		r.single(ctx, to, e.Severity, r.singleBody(to, e), &output{sources: holdEach([]*message{m})}, r.emittedID(e, m, name))
		return
	}
	at := n*r.e.cfg.Partitions + e.PartitionOf(r.e.cfg.Partitions)
	p := &r.packs[at]
	if len(p.events) > 0 && (len(p.events) >= r.e.limits.maxEvents || p.bytes+e.Size() > r.e.limits.maxBytes) {
		r.publishPack(ctx, p)
		p.reset()
	} else if len(p.events) == 0 {
		r.open = append(r.open, at)
	}
	p.add(e, m)
}

func (r *router) emittedID(e *event.Event, m *message, port string) string {
	return r.e.cfg.Stage + ":" + m.in.cfg.Stream + ":" + strconv.FormatUint(e.Origin.Sequence, 10) + ":" + strconv.Itoa(e.Origin.Index) + ":" + port
}

func (r *router) flushPacks(ctx context.Context) {
	for _, at := range r.open {
		r.publishPack(ctx, &r.packs[at])
		r.packs[at].reset()
	}
	r.open = r.open[:0]
}

// publishProduced publishes new events; all sources wait until they are stored.
func (r *router) publishProduced(ctx context.Context, produced []stage.Produced, sources []*message) {
	if len(produced) == 0 {
		return
	}
	r.made = r.made[:0]
	for _, p := range produced {
		r.made = append(r.made, r.e.encode(p.Event))
	}
	for i, p := range produced {
		n, ok := r.e.ports.find(p.Port)
		switch {
		case !ok:
			r.e.log.Error("the stage made an event for a port that it does not have", "port", p.Port, "event", r.made[i].ID)
		case n >= r.e.ports.frames:
			to := &r.e.ports.all[n]
			id := insightID(r.e.cfg.Stage, r.made[i].ID, p.Event.GetInsight().GetRevision())
			body := content{data: event.AppendCloudEvent(nil, p.Event), contentType: event.ContentTypeCloudEvent}
			r.single(ctx, to, r.made[i].Severity, body, &output{sources: holdEach(sources), produced: to.name}, id)
		default:
			r.packProduced(ctx, n, &r.made[i], sources)
		}
	}
	r.flushPacks(ctx)
	clear(r.made)
}

func (r *router) packProduced(ctx context.Context, port int, e *event.Event, sources []*message) {
	at := port*r.e.cfg.Partitions + e.PartitionOf(r.e.cfg.Partitions)
	p := &r.packs[at]
	if len(p.events) > 0 && (len(p.events) >= r.e.limits.maxEvents || p.bytes+e.Size() > r.e.limits.maxBytes) {
		r.publishPack(ctx, p)
		p.reset()
	} else if len(p.events) == 0 {
		r.open = append(r.open, at)
	}
	if len(p.events) == 0 {
		p.produced = true
		p.sources = append(p.sources, sources...)
	}
	p.events = append(p.events, e)
	p.bytes += e.Size() + 4
	p.content = p.content.string(e.ID)
}

// content is the body of a message of one event.
type content struct {
	data        []byte
	contentType string
}

// singleBody is a received event in the form that a port takes. An event that cannot be
// written as a CloudEvent leaves as it came.
func (r *router) singleBody(to *port, e *event.Event) content {
	if to.out.Format == config.FormatCloudEvent {
		if body, err := e.AppendCloudEvent(nil); err == nil {
			return content{body, event.ContentTypeCloudEvent}
		}
	}
	body, contentType := e.AppendReceived(nil)
	return content{body, contentType}
}

// single publishes one event as a message of its own.
func (r *router) single(ctx context.Context, to *port, severity int32, body content, o *output, id string) {
	subject := to.out.Subject
	if to.out.Format == config.FormatCloudEvent {
		subject += "." + r.e.cfg.Stage + "." + severityToken(severity)
	}
	h := nats.Header{headerEvents: {"1"}, nats.MsgIdHdr: {id}}
	if body.contentType != "" {
		h[event.HeaderContentType] = []string{body.contentType}
	}
	o.msg = &nats.Msg{Subject: subject, Header: h, Data: body.data}
	o.stream, o.events = to.out.Stream, 1
	r.e.truncate(o.msg)
	_ = r.e.pub.publish(ctx, o) // not sent: the sources stay held and are given back
}

// severityToken names an OpenTelemetry severity number in a subject.
func severityToken(n int32) string {
	switch level := event.SeverityLevel(n); level {
	case "fatal", "error", "warn":
		return level
	default:
		return "info"
	}
}

// encode makes an event of what a stage produced. Text that is not UTF-8, which a stage
// may have copied from an event, is mended: protobuf does not carry it.
func (e *Engine) encode(m *eventv1.Event) event.Event {
	out, err := event.FromProto(m, event.Origin{})
	if err == nil {
		return out
	}
	mendText(m.ProtoReflect())
	if out, err = event.FromProto(m, event.Origin{}); err != nil {
		e.log.Error("an event that the stage made cannot be encoded", "event", strings.ToValidUTF8(m.GetId(), "?"), "error", err)
	}
	return out
}
