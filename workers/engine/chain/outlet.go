package chain

import (
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

// Pending holds the outputs of one step on one outlet.
type Pending struct {
	Outlet  *Outlet
	Outputs []*Output
}
