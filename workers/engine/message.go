package engine

import "github.com/nats-io/nats.go"

// message is one input message in hand.
type message struct {
	in      *input
	seq     uint64
	subject string
	header  nats.Header
	data    []byte
	size    int
	// stored is when the input stream stored the message, Unix nanoseconds.
	stored int64
	// reply acknowledges the message as long as its input is of the generation in which it came.
	reply      string
	generation int
}
