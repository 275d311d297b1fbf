package source

import (
	"cmp"

	"github.com/nats-io/nats.go"
)

// Message is one message that was received.
type Message struct {
	Input    *Input
	Sequence uint64
	Subject  string
	Header   nats.Header
	Data     []byte
	// Size is what it counts in hand.
	Size int
	// Stored is when the input stream stored the message, Unix nanoseconds.
	Stored int64

	// reply acknowledges the message as long as its input is of the generation in which it came.
	reply      string
	generation int
}

// before orders messages of several inputs: by when they were stored, then by input.
func (m *Message) before(o *Message) bool {
	return cmp.Or(cmp.Compare(m.Stored, o.Stored), cmp.Compare(m.Input.Index, o.Input.Index), cmp.Compare(m.Sequence, o.Sequence)) < 0
}
