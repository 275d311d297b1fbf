package chain

import (
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
)

// partition is the partition that the stage before gave a message: the last token of its subject (see
// outletsOf). Where several lanes write to a partition, each of them counts as one: what they write is in order
// for itself. Whoever publishes at the ingress may use a number there for something else.
func (c *Chain) partition(m *Message) int {
	in := &c.inputs[m.Input]
	if in.From == config.Ingress {
		return noPartition
	}
	rest, last := cutLast(m.Subject)
	if !in.Repartitioned {
		return number(last, c.partitions)
	}
	_, partition := cutLast(rest)
	q, writer := number(partition, c.partitions), number(last, 2*c.partitions)
	switch {
	case q == noPartition || writer == noPartition:
		return noPartition
	case writer >= c.partitions: // it replays the overflow of a lane
		return c.partitions*c.partitions + q*c.partitions + writer - c.partitions
	}
	return q*c.partitions + writer
}

// cutLast cuts the last token off a subject.
func cutLast(subject string) (rest, last string) {
	at := strings.LastIndexByte(subject, '.')
	return subject[:max(at, 0)], subject[at+1:]
}

// number reads a number below a bound, or is noPartition.
func number(token string, below int) int {
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || n >= below {
		return noPartition
	}
	return n
}
