package chain

import (
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// Outlet is one subject that a stage of the lane writes to, and nobody else.
type Outlet struct {
	Node *Node
	Port *Port
	// Number is its place among the outlets of the chain.
	Number int
	// Subject is where frames and dead letters go; insights go to one of several subjects.
	Subject string
	// Pattern is the subject, or stands for the subjects, whose last message is the last one of the outlet.
	Pattern string
	// Packed is how far what was packed so far reaches into each input.
	Packed []progress.Position
	// Reached is how far it reached when the session began. That may be further than the session has come.
	Reached []progress.Position

	open *Pending // of the step that is worked on
}

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

// subjectOf is where an event of this severity goes on the outlet of a port of single events.
func (o *Outlet) subjectOf(severity int32) string {
	if o.Port.Out.Format != config.FormatCloudEvent {
		return o.Subject
	}
	return strings.Replace(o.Pattern, ".*.", "."+severityToken(severity)+".", 1)
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
