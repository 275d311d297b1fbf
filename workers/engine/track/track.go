package track

import (
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/progress"
)

// Track is one subject that one lane publishes on, alone. Every message on it says who wrote it
// and how far it reaches into the input, and is stored only when the one before it is the
// last one there (Nats-Expected-Last-Subject-Sequence). So a worker that takes a lane over
// reads the last message and knows what is stored, and who lost the lane without noticing
// is refused.
//
// The idea is that of Kafka Streams' exactly-once processing, offsets stored with the output,
// built from what a JetStream stream offers.
type Track struct {
	// Number is its place among those of the lane, Node the number of the stage that writes it.
	Number, Node int
	// Port is the number of the port that it is of, Ports are the names of the ports of that stage, by their numbers.
	Port   int
	Ports  []string
	Stream string
	// Last is the subject, or stands for the subjects, whose last message is the last one of the track.
	Last string
	// Single says that each event is a message of its own: then several are stored as an atomic batch.
	Single bool
	// Drop has records left out while the stream is full, instead of waiting.
	Drop bool
	// Blocked is called when output to the stream begins and ends to wait.
	Blocked func(stream string, yes bool)

	// Of the last message when the log was opened:

	// Fence is the stream sequence of the last message; 0 = there is none.
	Fence uint64
	// Written is when it was stored, Reach how far it reaches into each input.
	Written time.Time
	Reach   []progress.Position
	// Mark is what it says of the ingress.
	Mark progress.Mark

	inDoubt bool // something of the step in doubt, namely what stands behind since
	since   uint64
	output  *progress.Output // what the last message says; nil = nothing
	noBatch bool             // the stream takes no atomic batches
}

// Record is one message to be stored on a track.
type Record struct {
	Message nats.Msg
	// Events is how many events it holds.
	Events int
	// Items names them, Reach is how far it reaches into each input.
	Items *progress.Items
	Reach []progress.Position
	// Buffer is the memory of Message.Data, which goes back to Options.Buffers when the message is stored; nil = it does not.
	Buffer *[]byte

	number uint64 // of those of a session
}

// Headers that records carry for their own track.
const (
	headerOwner     = "Millrace-Owner"
	HeaderPosition  = "Millrace-Position"
	headerStep      = "Millrace-Step"
	headerBatchID   = "Nats-Batch-Id"
	headerBatchSeq  = "Nats-Batch-Sequence"
	headerBatchEnd  = "Nats-Batch-Commit"
	headerExpected  = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedS = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// requestTimeout bounds one question to the server.
const requestTimeout = 2 * time.Second
