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
