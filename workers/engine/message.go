package engine

import (
	"strconv"
	"strings"

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
	// stored is when the input stream stored the message, Unix nanoseconds.
	stored int64
	// only are the events that are to be decoded; nil = all of them.
	only []int
	// reply acknowledges the message as long as its input is of the generation in which it came.
	reply      string
	generation int
}

// noPartition is where a message is of no partition that is known.
const noPartition = -1

// partition is the partition that the stage before gave a message: the last token of its subject (see
// newPorts). Whoever publishes at the ingress may use a number there for something else.
func (m *message) partition(partitions int) int {
	if m.in.cfg.From == "ingress" {
		return noPartition
	}
	n, err := strconv.Atoi(m.subject[strings.LastIndexByte(m.subject, '.')+1:])
	if err != nil || n < 0 || n >= partitions {
		return noPartition
	}
	return n
}
