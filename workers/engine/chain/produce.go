package chain

import (
	"math/bits"
	"strings"

	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

// produce publishes new events that node n made at the place of the cursor, and appends to kept those that left on port out, if it has children.
func (c *Chain) produce(cur *cursor, n *Node, made []product, kept []event.Event) []event.Event {
	for i := range made {
		e, port := c.eventOf(n, &made[i]), max(made[i].port, stage.Out)
		cur.at.Index, cur.made = progress.ProducedIndex(n.Depth)+made[i].number, nameOf(&e)
		e.Origin = event.Origin{Input: cur.in, Sequence: cur.at.Seq, Index: int(cur.at.Index), Made: cur.made}
		if made[i].reason != "" {
			c.produceDead(cur, n, &e, &made[i])
			continue
		}
		if name, missing := n.missing(port); missing || bits.OnesCount64(uint64(port)) != 1 {
			c.log.Error("the stage made an event for a port that it does not have, or not for one port", "stage", n.Stage, "port", name, "event", e.ID)
			continue
		}
		if c.publishNew(cur, n, &e, made[i].event, bits.TrailingZeros64(uint64(port))) && len(n.Children) > 0 {
			kept = append(kept, e)
		}
	}
	return kept
}

// produceDead publishes a new event as a dead letter, unless it is stored already.
func (c *Chain) produceDead(cur *cursor, n *Node, e *event.Event, p *product) {
	if where, _ := c.went(cur, n); where == progress.Stored {
		tl := &cur.s.Tallies[n.Index]
		tl.Produced = addTo(tl.Produced, config.PortDeadLetter, 1)
		return
	}
	c.deadLetterNew(cur, n, e, p.reason, p.err)
}

// deadLetterNew publishes a new event to the dead letters.
func (c *Chain) deadLetterNew(cur *cursor, n *Node, e *event.Event, reason string, err error) {
	tl := &cur.s.Tallies[n.Index]
	tl.Produced = addTo(tl.Produced, config.PortDeadLetter, 1)
	tl.DeadLettered-- // which counts received events
	c.deadLetter(cur, n, e, reason, err, 1)
}

// publishNew publishes a new event on the port of a number, unless it is stored already. It says whether it left on port out.
func (c *Chain) publishNew(cur *cursor, n *Node, e *event.Event, m *eventv1.Event, number int) (out bool) {
	tl := &cur.s.Tallies[n.Index]
	where, on := c.went(cur, n)
	switch where {
	case progress.Stored:
		number = bits.TrailingZeros64(on.Stored)
	case progress.Behind: // it left on port out
		number = 0
	}
	if p := n.Ports.stored[number]; p >= 0 && where != progress.Stored {
		if err := c.publishMade(cur, n, p, e, m); err != nil {
			c.deadLetterNew(cur, n, e, reasonTooLarge, err)
			return false
		}
	}
	tl.Produced = addTo(tl.Produced, n.Ports.Names[number], 1)
	if stage.Ports(1)<<number != deadLetter { // where it was too large
		tl.left(n, number)
	}
	return number == 0
}

// nameOf names a new event: by its id, or by all of it where it has none.
func nameOf(e *event.Event) uint64 {
	if e.ID == "" {
		return max(xxh3.Hash(e.AppendProto(nil)), 1)
	}
	return progress.NameOf(e.Type, e.ID)
}

// publishMade publishes a new event on a port; as a CloudEvent it is written from its message, with less detail where it is
// too large. The error says that it is too large all the same.
func (c *Chain) publishMade(cur *cursor, n *Node, p int, e *event.Event, m *eventv1.Event) error {
	if n.Ports.all[p].Out.Format != config.FormatCloudEvent {
		return c.publish(cur, n, p, e)
	}
	at := c.outlets[n.Index][n.Ports.outletOf(p, 0)]
	var err error
	if m == nil {
		if m, err = e.ToProto(); err != nil {
			return err
		}
	}
	for _, less := range smaller {
		if err = c.single(cur, at, e, cloudevent.AppendProto(nil, less(m)), event.ContentTypeCloudEvent); err == nil {
			return nil
		}
	}
	return err
}

// eventOf makes an event of what a stage produced. Text that is not UTF-8, which a stage
// may have copied from an event, is mended: protobuf does not carry it.
func (c *Chain) eventOf(n *Node, p *product) event.Event {
	if p.event == nil {
		var out event.Event
		if err := out.Read(p.encoded, p.encoded, event.FormFrame, nil); err != nil {
			c.log.Error("an event that the stage made is not whole", "stage", n.Stage, "event", strings.ToValidUTF8(out.ID, "?"), "error", err)
		}
		return out
	}
	m := p.event
	out, err := event.FromProto(m, event.Origin{})
	if err == nil {
		return out
	}
	mendText(m.ProtoReflect())
	if out, err = event.FromProto(m, event.Origin{}); err != nil {
		c.log.Error("an event that the stage made cannot be encoded", "stage", n.Stage, "event", strings.ToValidUTF8(m.GetId(), "?"), "error", err)
	}
	return out
}
