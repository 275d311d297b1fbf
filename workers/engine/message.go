package engine

import (
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// message is one input message in hand.
type message struct {
	in      *input
	seq     uint64
	subject string
	header  nats.Header
	data    []byte
	size    int
	// stored and received are Unix nanoseconds: when the input stream stored the message,
	// and when this worker got it.
	stored, received int64

	// waits counts what must happen before the acknowledgement: unconfirmed outputs, parked
	// retries, and one for the lane that works on it.
	waits atomic.Int32

	// tally is written by whoever works on the message, one at a time.
	tally tally
	// ingest is the ingest time of the first event, for end-to-end latency; 0 = unknown.
	ingest int64

	// Below: guarded by the lock of the input.
	reply      string
	touched    int64 // Unix nanoseconds of the last sign of life that the server got
	prev, next *message
	gone       bool // acknowledged or given back
}

// tally counts the events of one message by what became of them. It is added to the
// counters when the message is acknowledged, so that what is done twice counts once.
type tally struct {
	events, emitted, filtered, duplicates, deadLettered int64
	// out is the part of emitted that left on port out.
	out     int64
	reasons []reasonCount
}

type reasonCount struct {
	reason string
	n      int64
}

func (t *tally) deadLetter(reason string) {
	t.deadLettered++
	for i := range t.reasons {
		if t.reasons[i].reason == reason {
			t.reasons[i].n++
			return
		}
	}
	t.reasons = append(t.reasons, reasonCount{reason, 1})
}

// hold keeps the message from being acknowledged until n times done.
func (m *message) hold(n int32) { m.waits.Add(n) }

// done ends one hold; the last one acknowledges the message.
func (m *message) done() {
	if m.waits.Add(-1) == 0 {
		m.in.ack(m)
	}
}
