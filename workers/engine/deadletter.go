package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/event"
)

// maxErrorText bounds the header Millrace-Error.
const maxErrorText = 1024

func errUnknownPort(name string) error {
	return fmt.Errorf("the stage sent the event to port %q, which it does not have", name)
}

var errNoReason = errors.New("no reason given")

// deadLetter publishes e, as the worker received it, to the dead letters of node n.
func (l *lane) deadLetter(sc *scene, n *node, e *event.Event, reason string, err error, attempts int) {
	body, contentType := e.AppendReceived(nil)
	l.bury(sc, n, letter{index: e.Origin.Index, body: body, contentType: contentType, reason: reason, err: err, attempts: attempts})
}

// letter is one dead event.
type letter struct {
	index int // in its message
	body  []byte
	// contentType is that of body; empty = body is the whole message, whose headers belong to it.
	contentType string
	reason      string
	err         error
	attempts    int
}

func (l *lane) bury(sc *scene, n *node, d letter) {
	if d.reason == "" {
		d.reason = "unspecified"
	}
	tl := &sc.s.tallies[n.index]
	tl.deadLettered++
	tl.reasons = addTo(tl.reasons, d.reason, 1)
	l.warnDead(sc, n, d)
	t := l.tracks[n.index][n.ports.trackOf(n.ports.dead, 0)]
	if !l.fresh(sc, t) {
		return
	}
	h := nats.Header{
		headerEvents: {"1"},
		headerReason: {headerText(d.reason, maxErrorText)},
		headerStage:  {n.cfg.Stage}, headerAttempts: {strconv.Itoa(d.attempts)},
		headerIndex: {strconv.Itoa(d.index)},
	}
	if m := sc.m; m != nil {
		h[headerStream], h[headerSubject] = []string{m.in.cfg.Stream}, []string{m.subject}
		h[headerSequence] = []string{strconv.FormatUint(m.seq, 10)}
		h[headerTime] = []string{timeOf(m.stored)}
	}
	if d.err != nil {
		h[headerError] = []string{headerText(d.err.Error(), maxErrorText)}
	}
	if d.contentType != "" {
		h[event.HeaderContentType] = []string{d.contentType}
	} else if sc.m != nil {
		keepHeaders(h, sc.m.header)
	}
	o := &output{events: 1, reach: slices.Clone(t.packed), msg: &nats.Msg{Subject: t.subject, Header: h, Data: d.body}}
	o.items.Add(sc.item())
	l.e.truncate(o.msg)
	// The body may be memory of the step or of the message, which outlive the publish.
	sc.enqueue(t, o)
}

// warnDead logs one dead event in a while for each stage: its payload is in the dead letters.
func (l *lane) warnDead(sc *scene, n *node, d letter) {
	if l.replaying || !n.dead.allow(l.e.now()) {
		return
	}
	attributes := []any{"stage", n.cfg.Stage, "reason", d.reason, "error", d.err, "attempts", d.attempts, "index", d.index}
	if m := sc.m; m != nil {
		attributes = append(attributes, "stream", m.in.cfg.Stream, "sequence", m.seq)
	}
	l.log.Warn("an event goes to the dead letters; further ones of this stage are not logged for a minute", attributes...)
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

// truncate cuts m to what the server takes, and says so in its headers: headers of the sender that leave
// no room for the others, the largest first, then the end of the body.
func (e *Engine) truncate(m *nats.Msg) {
	if !e.tooLarge(m) {
		return
	}
	m.Header[headerTruncated] = []string{"true"}
	m.Header[headerFullSize] = []string{strconv.Itoa(len(m.Data))}
	limit, payload := maxHeaders, int(e.conn.MaxPayload())
	if payload > 0 {
		limit = min(limit, payload)
	}
	for _, name := range sendersHeaders(m.Header) {
		if headerSize(m.Header)+e.trackHeaders() <= limit {
			break
		}
		delete(m.Header, name)
	}
	if payload > 0 {
		m.Data = m.Data[:max(0, min(payload-headerSize(m.Header)-e.trackHeaders(), len(m.Data)))]
	}
}

// sendersHeaders are the names of the headers in h that are the sender's, the largest first.
func sendersHeaders(h nats.Header) []string {
	var names []string
	size := map[string]int{}
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, "Millrace-") {
			names = append(names, name)
			size[name] = headerSize(nats.Header{name: values})
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(size[b]-size[a], strings.Compare(a, b)) })
	return names
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
