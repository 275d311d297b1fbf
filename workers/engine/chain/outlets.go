package chain

import (
	"strconv"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
)

// NewOutlets makes the outlets of a lane anew, in the order of their numbers.
func (c *Chain) NewOutlets() []*Outlet {
	c.outlets, c.numbered = nil, nil
	for _, n := range c.nodes {
		all := c.outletsOf(n)
		for _, o := range all {
			if o != nil {
				o.Number = len(c.numbered)
				c.numbered = append(c.numbered, o)
			}
		}
		c.outlets = append(c.outlets, all)
	}
	return c.numbered
}

// outletsOf makes the outlets of one node, numbered port * partitions + partition
// for ports of frames, and one for each other port behind them.
func (c *Chain) outletsOf(n *Node) []*Outlet {
	var all []*Outlet
	inputs := len(c.inputs)
	lane := strconv.Itoa(c.lane)
	for i := range n.Ports.all {
		p := &n.Ports.all[i]
		if p.Out.Format != config.FormatFrame {
			o := &Outlet{Node: n, Port: p, Subject: p.Out.Subject + "." + lane, Packed: make([]progress.Position, inputs)}
			o.Pattern = o.Subject
			if p.Out.Format == config.FormatCloudEvent {
				o.Pattern = p.Out.Subject + "." + n.Stage + ".*." + lane
			}
			all = append(all, o)
			continue
		}
		for q := range n.Partitions {
			subject := p.subjects[q]
			switch {
			case p.Out.Repartition:
				subject += "." + lane
			case c.lanes > 1 && q != c.lane:
				all = append(all, nil) // another lane's
				continue
			}
			all = append(all, &Outlet{Node: n, Port: p, Subject: subject, Pattern: subject, Packed: make([]progress.Position, inputs)})
		}
	}
	return all
}
