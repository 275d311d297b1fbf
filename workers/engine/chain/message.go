package chain

import (
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// Message is one message of an input.
type Message struct {
	event.Message
	// Stream and Subject are where it was stored. They go into dead letters.
	Stream, Subject string
}

// Input is one stream that the chain reads.
type Input struct {
	// From says who fills it: "ingress", or a stage and its port.
	From string
	// Stream is its name.
	Stream string
}

// ingress is the Input.From of events from outside.
const ingress = "ingress"

// noPartition is where a message is of no partition that is known.
const noPartition = -1

// partition is the partition that the stage before gave a message: the last token of its subject (see
// newPorts). Whoever publishes at the ingress may use a number there for something else.
func (c *Chain) partition(m *Message) int {
	if c.inputs[m.Input].From == ingress {
		return noPartition
	}
	n, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if err != nil || n < 0 || n >= c.partitions {
		return noPartition
	}
	return n
}

// framed says whether a stage writes the frames that a port holds: then their hints may be believed, and events
// may have grown over the limit of the ingress. Dead letters, and events that no CloudEvent can hold, leave as they
// came, with the hints of whoever published them.
func framed(from string) bool {
	_, port, ok := strings.Cut(from, "/")
	return ok && config.PortFormat(port) == config.FormatFrame
}
