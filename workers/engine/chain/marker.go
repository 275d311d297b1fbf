package chain

import (
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event/frame"
)

// Marker makes a message without events for an outlet of frames: readers take its headers. reach is up to where everything is stored without it, and
// never less than the last message of the outlet reached.
func (c *Chain) Marker(at *Outlet, reach []progress.Position) *Output {
	o := &Output{frame: c.writer(), Subject: at.Subject, Reach: reach}
	o.frame.Begin(frame.Header{})
	return o
}

// Sign has a message that is encoded say of the ingress what m says.
func (o *Output) Sign(m progress.Mark) { o.Header[progress.HeaderWatermark] = []string{m.String()} }
