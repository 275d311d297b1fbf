package chain

import (
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
)

// Message is one message of an input.
type Message struct {
	decode.Message
	// Stream and Subject are where it was stored. They go into dead letters.
	Stream, Subject string
	// Outside says that the stage does not take what the message holds (config.Input.Takes).
	Outside bool
}

// Input is one stream that the chain reads.
type Input struct {
	// From says who fills it: the ingress (config.Ingress), or a stage and its port.
	From string
	// Stream is its name.
	Stream string
	// Repartitioned is as in config.Input.
	Repartitioned bool
	// Writers is as in config.Input.
	Writers int
}

// noPartition is where a message is of no partition that is known.
const noPartition = -1

// framed says whether a stage writes the frames that a port holds: then their hints may be believed, and events
// may have grown over the limit of the ingress. Dead letters, and events that no CloudEvent can hold, leave as they
// came, with the hints of whoever published them.
func framed(from string) bool {
	_, port, ok := strings.Cut(from, "/")
	return ok && config.PortFormat(port) == config.FormatFrame
}
