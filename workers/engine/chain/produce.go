package chain

import (
	"strings"

	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// produce publishes the new events that node n made, and returns those of port out.
func (c *Chain) produce(cur *cursor, n *Node, made []stage.Produced) {
	base := progress.ProducedIndex(n.Depth)
	for i := range made {
		e := c.eventOf(n, made[i].Event)
		cur.at.Index, cur.made = base+uint32(i), nameOf(&e)
		e.Origin = event.Origin{Input: cur.in, Sequence: cur.at.Seq, Index: int(cur.at.Index), Made: cur.made}
		name := made[i].Port
		tl := &cur.s.Tallies[n.Index]
		p, ok := n.Ports.find(name)
		switch {
		case ok:
			if before, stored := c.storedBefore(cur, n); stored {
				tl.Produced = addTo(tl.Produced, before.Port.Name, 1)
				if before.Port.Name == config.PortDeadLetter { // it was too large
					continue
				}
				if before.Port.Name == config.PortOut {
					tl.Out++
				}
				break
			}
			if err := c.publishNew(cur, n, p, &e, made[i].Event); err != nil {
				tl.Produced = addTo(tl.Produced, config.PortDeadLetter, 1)
				tl.DeadLettered-- // which counts received events
				c.deadLetter(cur, n, &e, reasonTooLarge, err, 1)
				continue
			}
			tl.Produced = addTo(tl.Produced, n.Ports.all[p].Name, 1)
			if n.Ports.all[p].Name == config.PortOut {
				tl.Out++
			}
		case (name == "" || name == config.PortOut) && len(n.Children) > 0:
			tl.Produced = addTo(tl.Produced, config.PortOut, 1)
			tl.Out++
		default:
			c.log.Error("the stage made an event for a port that it does not have", "stage", n.Stage, "port", name, "event", e.ID)
			continue
		}
		if name == "" || name == config.PortOut {
			c.scratch[n.Index].made = append(c.scratch[n.Index].made, e)
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
func (c *Chain) publishNew(cur *cursor, n *Node, p int, e *event.Event, m *eventv1.Event) error {
	if n.Ports.all[p].Out.Format != config.FormatCloudEvent {
		return c.publish(cur, n, p, e)
	}
	at := c.outlets[n.Index][n.Ports.outletOf(p, 0)]
	var err error
	for _, less := range smaller {
		if err = c.single(cur, at, e, event.AppendCloudEvent(nil, less(m)), event.ContentTypeCloudEvent); err == nil {
			return nil
		}
	}
	return err
}

// eventOf makes an event of what a stage produced. Text that is not UTF-8, which a stage
// may have copied from an event, is mended: protobuf does not carry it.
func (c *Chain) eventOf(n *Node, m *eventv1.Event) event.Event {
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
