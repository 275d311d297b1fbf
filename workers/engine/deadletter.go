package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/event"
)

// maxErrorText bounds the header Millrace-Error.
const maxErrorText = 1024

// deadLetter publishes e, as it was received, to the dead letters.
func (r *router) deadLetter(ctx context.Context, e *event.Event, m *message, reason string, err error, attempts int) {
	body, contentType := e.AppendReceived(nil)
	r.bury(ctx, letter{m: m, origin: e.Origin, body: body, contentType: contentType, reason: reason, err: err, attempts: attempts})
}

// undecodable publishes bytes that are no event to the dead letters.
func (r *router) undecodable(ctx context.Context, u *event.Undecodable, m *message) {
	origin := event.Origin{Input: m.in.index, Sequence: m.seq, Index: u.Index}
	r.bury(ctx, letter{m: m, origin: origin, body: u.Raw, contentType: u.ContentType, reason: reasonUndecodable, err: u.Err, attempts: 1})
}

// oversized dead-letters the one event of p, whose frame is larger than max_payload.
func (r *router) oversized(ctx context.Context, p *pack) {
	e := p.events[0]
	if p.produced || len(p.sources) == 0 {
		r.e.log.Error("an event that the stage made is larger than max_payload of the server and is dropped", "event", e.ID, "bytes", e.Size())
		return
	}
	var m *message
	for _, m = range p.sources {
		if m.seq == e.Origin.Sequence && m.in.index == e.Origin.Input {
			break
		}
	}
	m.tally.emitted--
	if r.e.ports.all[p.port].name == "out" {
		m.tally.out--
	}
	err := fmt.Errorf("the event takes %d bytes: more than max_payload of the NATS server, %d", e.Size(), r.e.conn.MaxPayload())
	r.deadLetter(ctx, e, m, reasonTooLarge, err, 1)
}

// letter is one dead event.
type letter struct {
	m      *message
	origin event.Origin
	body   []byte
	// contentType is that of body; empty = body is the whole message, whose headers belong to it.
	contentType string
	reason      string
	err         error
	attempts    int
}

func (r *router) bury(ctx context.Context, l letter) {
	if l.reason == "" {
		l.reason = "unspecified"
	}
	l.m.tally.deadLetter(l.reason)
	in := l.m.in.cfg
	h := nats.Header{
		nats.MsgIdHdr: {deadLetterID(r.e.cfg.Stage, in.Stream, l.origin)},
		headerEvents:  {"1"},
		headerReason:  {headerText(l.reason, maxErrorText)},
		headerStage:   {r.e.cfg.Stage}, headerAttempts: {strconv.Itoa(l.attempts)},
		headerStream: {in.Stream}, headerSubject: {l.m.subject},
		headerSequence: {strconv.FormatUint(l.origin.Sequence, 10)}, headerIndex: {strconv.Itoa(l.origin.Index)},
		headerTime: {time.Unix(0, l.m.stored).UTC().Format(time.RFC3339Nano)},
	}
	if l.err != nil {
		h[headerError] = []string{headerText(l.err.Error(), maxErrorText)}
	}
	if l.contentType != "" {
		h["Content-Type"] = []string{l.contentType}
	} else {
		keepHeaders(h, l.m.header)
	}
	msg := &nats.Msg{Subject: r.e.ports.dead.Subject, Header: h, Data: l.body}
	r.e.truncate(msg)
	_ = r.e.pub.publish(ctx, &output{msg: msg, stream: r.e.ports.dead.Stream, events: 1, sources: holdEach([]*message{l.m})})
}

// keepHeaders copies what the sender set: content type, ce-* attributes, trace context.
// Names of the server and of the project mean something else in the new message.
func keepHeaders(h, from nats.Header) {
	for k, v := range from {
		if !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Millrace-") {
			h[k] = v
		}
	}
}

// truncate cuts the body of m to what the server takes, and says so in its headers.
func (e *Engine) truncate(m *nats.Msg) {
	if !e.tooLarge(m) {
		return
	}
	m.Header[headerTruncated] = []string{"true"}
	m.Header[headerFullSize] = []string{strconv.Itoa(len(m.Data))}
	room := int(e.conn.MaxPayload()) - headerSize(m.Header)
	for k := range m.Header { // headers of the sender that leave no room
		if room >= 0 {
			break
		}
		if !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Millrace-") {
			delete(m.Header, k)
			room = int(e.conn.MaxPayload()) - headerSize(m.Header)
		}
	}
	m.Data = m.Data[:max(0, min(room, len(m.Data)))]
}

// headerText makes s fit into a header: one line of at most limit bytes of valid UTF-8.
func headerText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' || r == 0 {
			return ' '
		}
		return r
	}, s))
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
