package chain

import (
	"cmp"
	"slices"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// target stands for what a sink keeps where outlets have their numbers and ports their names.
const (
	targetNumber = -1
	targetName   = "target"
)

// keep has the sink keep the event at the cursor, unless it does already. A stage that is no sink has kept it itself.
func (c *Chain) keep(cur *cursor, n *Node, row any) {
	tl := &cur.s.Tallies[n.Index]
	tl.Kept++
	switch {
	case !c.instances[n.Index].sink || cur.replayed:
	case !c.doubt.Fresh(targetNumber, cur.in, cur.at):
		tl.skip(targetName)
	default:
		cur.s.Rows = append(cur.s.Rows, Row{Value: row, message: cur.k, index: int(cur.at.Index)})
	}
}

// Refuse makes dead letters of rows of s that the target of the sink does not take, and takes them out of s. The chain may be at the next steps
// meanwhile. reach is up to where everything is stored behind s.
func (c *Chain) Refuse(s *Step, rows []stage.RefusedRow, reach []progress.Position) *Pending {
	slices.SortFunc(rows, func(a, b stage.RefusedRow) int { return cmp.Compare(a.Row, b.Row) })
	n := c.head
	at, tl := c.deadLetters(n), &s.Tallies[n.Index]
	p := &Pending{Outlet: at}
	reach = progress.Advance(slices.Clone(reach), at.Reached)
	received := c.reader(s)
	for _, r := range rows {
		row := s.Rows[r.Row]
		m := &s.Messages[row.message]
		d := letter{index: row.index, reason: cmp.Or(r.Reason, reasonRefused), err: cmp.Or(r.Err, errNoReason), attempts: 1}
		d.body, d.contentType = received(row)
		tl.Kept--
		tl.dead(d.reason)
		c.warnDead(m, n, d)
		o := c.letterOf(n, at, m, d)
		o.Reach = slices.Clone(reach)
		o.Items.Add(progress.Item{Input: m.Input, Seq: m.Sequence, Index: uint32(row.index)})
		p.Outputs = append(p.Outputs, o)
	}
	next := -1
	s.Rows = slices.DeleteFunc(s.Rows, func(Row) bool {
		next++
		_, refused := slices.BinarySearchFunc(rows, next, func(r stage.RefusedRow, i int) int { return cmp.Compare(r.Row, i) })
		return refused
	})
	return p
}

// reader reads events of the messages of s again, as they were received.
func (c *Chain) reader(s *Step) func(Row) (body []byte, contentType string) {
	decoders := c.newDecoders(event.NewContexts(1 << 20)) // those of the chain are in use
	var events []event.Event
	decoded := -1
	return func(row Row) ([]byte, string) {
		m := &s.Messages[row.message]
		if decoded != row.message {
			decoders[m.Input].Reset()
			events, _ = decoders[m.Input].Decode(events[:0], m.Message)
			decoded = row.message
		}
		i, _ := slices.BinarySearchFunc(events, row.index, func(e event.Event, index int) int { return cmp.Compare(e.Origin.Index, index) })
		return decode.AppendReceived(nil, &events[i])
	}
}
