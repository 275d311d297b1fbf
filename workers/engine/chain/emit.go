package chain

import (
	"fmt"
	"slices"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// emit sends e, which node n received, out through ports of n, and says whether it left on port out.
func (c *Chain) emit(cur *cursor, n *Node, e *event.Event, to stage.Ports) (out bool) {
	if to <= stage.Out { // nearly all events
		return c.emitOut(cur, n, e)
	}
	if name, missing := n.missing(to); missing {
		c.deadLetter(cur, n, e, reasonUnknownPort, errUnknownPort(name), 1)
		return false
	}
	return c.leave(cur, n, e, to, 0)
}

// emitOut is emit on port out alone, where leave would cost a tenth of all that the chain does (BenchmarkTake).
func (c *Chain) emitOut(cur *cursor, n *Node, e *event.Event) (out bool) {
	p := n.Ports.stored[0]
	if p < 0 && len(n.Children) == 0 {
		c.deadLetter(cur, n, e, reasonUnknownPort, errUnknownPort(config.PortOut), 1)
		return false
	}
	if p >= 0 { // else only the chain reads it
		if err := c.publish(cur, n, p, e); err != nil {
			c.deadLetter(cur, n, e, reasonTooLarge, err, 1)
			return false
		}
	}
	tl := &cur.s.Tallies[n.Index]
	tl.Emitted++
	tl.Out++
	return true
}

// leave has e leave on ports of n that exist, and stores it on those that do not have it. It says whether it left on port out.
func (c *Chain) leave(cur *cursor, n *Node, e *event.Event, to, have stage.Ports) (out bool) {
	if to&(to-1) != 0 {
		cur.ports = to
	}
	var refused error
	for i := range (to &^ have).Numbers {
		p := n.Ports.stored[i]
		if p < 0 { // only the chain reads it
			continue
		}
		if err := c.publish(cur, n, p, e); err != nil {
			refused, to = err, to&^(1<<i)
		}
	}
	tl := &cur.s.Tallies[n.Index]
	switch {
	case have&deadLetter != 0: // it was refused before
		tl.DeadLettered++
		to &^= deadLetter
	case refused != nil:
		if cur.ports = 0; to != 0 { // its other ports belong to it
			cur.ports = to | deadLetter
		}
		c.deadLetter(cur, n, e, reasonTooLarge, refused, 1)
	case c.aside != 0 && to == c.aside && n == c.head:
		tl.Overflowed++
	default:
		tl.Emitted++
	}
	cur.ports = 0
	for i := range to.Numbers {
		tl.left(n, i)
	}
	return to&stage.Out != 0
}

// publish puts e on the outlet of a port. The error says that it is too large for that.
func (c *Chain) publish(cur *cursor, n *Node, p int, e *event.Event) error {
	outlets := c.outlets[n.Index]
	if p >= n.Ports.frames {
		at := outlets[n.Ports.outletOf(p, 0)]
		body, contentType := c.singleBody(at, e)
		return c.single(cur, at, e, body, contentType)
	}
	if c.tooLargeAlone(n, e) {
		return c.errTooLarge(e.Size())
	}
	q := c.lane
	if c.lanes == 1 || n.Ports.all[p].Out.Repartition {
		q = e.PartitionOf(n.Partitions)
	}
	c.pack(cur, outlets[n.Ports.outletOf(p, q)], q, e)
	return nil
}

func (c *Chain) errTooLarge(size int) error {
	return fmt.Errorf("the event takes %d bytes: more than max_payload of the NATS server, %d", size, c.maxPayload.Load())
}

// single publishes one event as a message of its own, which is body. The error says that it is too large: whether
// it is must not hang on what is stored already.
func (c *Chain) single(cur *cursor, at *Outlet, e *event.Event, body []byte, contentType string) error {
	o := &Output{Subject: at.subjectOf(e.Severity), Header: map[string][]string{headerEvents: {"1"}}, Data: body, Events: 1}
	if contentType != "" {
		o.Header[event.HeaderContentType] = []string{contentType}
	}
	if c.tooLarge(o) {
		return c.errTooLarge(len(body))
	}
	if !c.fresh(cur, at) {
		return nil
	}
	o.Reach = slices.Clone(at.Packed)
	o.Items.Add(cur.item())
	cur.enqueue(at, o)
	return nil
}

// singleBody is an event in the form that a port takes. An event that cannot be written as
// a CloudEvent leaves as it came.
func (c *Chain) singleBody(at *Outlet, e *event.Event) (body []byte, contentType string) {
	if at.Port.Out.Format == config.FormatCloudEvent {
		if body, err := cloudevent.Append(nil, e); err == nil {
			return body, event.ContentTypeCloudEvent
		}
	}
	return decode.AppendReceived(nil, e)
}
