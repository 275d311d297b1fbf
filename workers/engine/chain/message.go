package chain

import (
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
)

// Message is one message of an input.
type Message struct {
	decode.Message
	// Stream and Subject are where it was stored. They go into dead letters.
	Stream, Subject string
}

// Input is one stream that the chain reads.
type Input struct {
	// From says who fills it: the ingress (config.Ingress), or a stage and its port.
	From string
	// Stream is its name.
	Stream string
	// Repartitioned is as in config.Input.
	Repartitioned bool
}

// noPartition is where a message is of no partition that is known.
const noPartition = -1

// partition is the partition that the stage before gave a message: the last token of its subject (see
// outletsOf). Where several lanes write to a partition, each of them counts as one: what they write is in order
// for itself. Whoever publishes at the ingress may use a number there for something else.
func (c *Chain) partition(m *Message) int {
	in := &c.inputs[m.Input]
	if in.From == config.Ingress {
		return noPartition
	}
	rest, last := cutLast(m.Subject)
	n, ok := c.number(last)
	if !in.Repartitioned || !ok {
		return n
	}
	_, last = cutLast(rest)
	q, ok := c.number(last)
	if !ok {
		return noPartition
	}
	return q*c.partitions + n
}

// cutLast cuts the last token off a subject.
func cutLast(subject string) (rest, last string) {
	at := strings.LastIndexByte(subject, '.')
	return subject[:max(at, 0)], subject[at+1:]
}

// number reads the number of a partition, or of a lane, of which there are no more.
func (c *Chain) number(token string) (n int, ok bool) {
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || n >= c.partitions {
		return noPartition, false
	}
	return n, true
}

// framed says whether a stage writes the frames that a port holds: then their hints may be believed, and events
// may have grown over the limit of the ingress. Dead letters, and events that no CloudEvent can hold, leave as they
// came, with the hints of whoever published them.
func framed(from string) bool {
	_, port, ok := strings.Cut(from, "/")
	return ok && config.PortFormat(port) == config.FormatFrame
}
