package chain

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// maxErrorText bounds the header Millrace-Error.
const maxErrorText = 1024

func errUnknownPort(name string) error {
	return fmt.Errorf("the stage sent the event to port %q, which it does not have", name)
}

// deadLetter publishes e, as the worker received it, to the dead letters of node n.
func (c *Chain) deadLetter(cur *cursor, n *Node, e *event.Event, reason string, err error, attempts int) {
	body, contentType := decode.AppendReceived(nil, e)
	c.deadLetterRaw(cur, n, letter{index: e.Origin.Index, body: body, contentType: contentType, reason: reason, err: err, attempts: attempts})
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

func (c *Chain) deadLetterRaw(cur *cursor, n *Node, d letter) {
	d.reason = cmp.Or(d.reason, reasonUnspecified)
	cur.s.Tallies[n.Index].dead(d.reason)
	if !c.replaying {
		c.warnDead(cur.m, n, d)
	}
	at := c.deadLetters(n)
	if !c.fresh(cur, at) {
		return
	}
	o := c.letterOf(n, at, cur.m, d)
	o.Reach = slices.Clone(at.Packed)
	o.Items.Add(cur.item())
	// The body may be memory of the step or of the message, which outlive the publish.
	cur.enqueue(at, o)
}

// deadLetters is the outlet of the dead letters of a node.
func (c *Chain) deadLetters(n *Node) *Outlet {
	return c.outlets[n.Index][n.Ports.outletOf(n.Ports.dead, 0)]
}

// letterOf makes the message of a dead letter of a message of the input; nil = the event was made by a flush.
func (c *Chain) letterOf(n *Node, at *Outlet, m *Message, d letter) *Output {
	h := map[string][]string{
		headerEvents: {"1"},
		headerReason: {headerText(d.reason, maxErrorText)},
		headerStage:  {n.Stage}, headerAttempts: {strconv.Itoa(d.attempts)},
		headerIndex: {strconv.Itoa(d.index)},
	}
	if m != nil {
		h[headerStream], h[headerSubject] = []string{m.Stream}, []string{m.Subject}
		h[headerSequence] = []string{strconv.FormatUint(m.Sequence, 10)}
		h[headerTime] = []string{timeOf(m.Time)}
	}
	if d.err != nil {
		h[headerError] = []string{headerText(d.err.Error(), maxErrorText)}
	}
	if d.contentType != "" {
		h[event.HeaderContentType] = []string{d.contentType}
	} else if m != nil {
		keepHeaders(h, m.Header)
	}
	o := &Output{Subject: at.Subject, Header: h, Data: d.body, Events: 1}
	c.truncate(o)
	return o
}

// warnDead logs one dead event in a while for each stage: its payload is in the dead letters.
func (c *Chain) warnDead(m *Message, n *Node, d letter) {
	if !n.dead.Allow(c.now()) {
		return
	}
	attributes := []any{"stage", n.Stage, "reason", d.reason, "error", d.err, "attempts", d.attempts, "index", d.index}
	if m != nil {
		attributes = append(attributes, "stream", m.Stream, "sequence", m.Sequence)
	}
	c.log.Warn("an event goes to the dead letters; further ones of this stage are not logged for a minute", attributes...)
}

// keepHeaders copies what the sender set: content type, ce-* attributes, trace context.
// Names of the server and of the project mean something else in the new message.
func keepHeaders(h, from map[string][]string) {
	for k, v := range from {
		if !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Millrace-") {
			h[k] = v
		}
	}
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

func timeOf(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// deadLetterUndecodable dead-letters what is no event and stands before index in the message.
func (c *Chain) deadLetterUndecodable(cur *cursor, index int) {
	for len(cur.bad) > 0 && cur.bad[0].Index < index {
		u := &cur.bad[0]
		cur.bad = cur.bad[1:]
		cur.at, cur.made = progress.Position{Seq: cur.m.Sequence, Index: uint32(u.Index)}, 0
		if where, _ := c.went(cur, c.head); where == progress.Stored {
			cur.s.Tallies[0].DeadLettered++
			continue
		}
		c.deadLetterRaw(cur, c.head, letter{index: u.Index, body: bytes.Clone(u.Raw), contentType: u.ContentType, reason: reasonUndecodable, err: u.Err, attempts: 1})
	}
}
