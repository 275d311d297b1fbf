package chain

import (
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event/frame"
)

// Headers of the project on NATS messages.
const (
	headerEvents    = frame.HeaderEvents
	headerReason    = "Millrace-Reason"
	headerStage     = "Millrace-Stage"
	headerAttempts  = "Millrace-Attempts"
	headerError     = "Millrace-Error"
	headerStream    = "Millrace-Stream"
	headerSubject   = "Millrace-Subject"
	headerSequence  = "Millrace-Sequence"
	headerIndex     = "Millrace-Index"
	headerTime      = "Millrace-Time"
	headerTruncated = "Millrace-Truncated"
	headerFullSize  = "Millrace-Size"
)

// Headers of W3C Trace Context.
const (
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

// MaxTraceHeader bounds the trace context that a message of frames carries: a longer one is not passed on.
// W3C Trace Context has vendors pass on 512 characters of tracestate at least.
const MaxTraceHeader = 512

// Output is one message to be stored.
type Output struct {
	Subject string
	// Header and Data are complete when the output is encoded (Encode).
	Header map[string][]string
	Data   []byte
	// Events is how many events it holds, Items names them.
	Events int
	Items  progress.Items
	// Reach is how far it reaches into each input.
	Reach []progress.Position

	frame *frame.Writer // of a frame that is not encoded
	trace *Message      // the message of the only event, whose trace context is carried
}

// IsFrame says that o is a frame that is not encoded yet.
func (o *Output) IsFrame() bool { return o.frame != nil }
