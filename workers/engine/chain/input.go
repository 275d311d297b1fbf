package chain

import (
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
)

// partition is the partition that the stage before gave a message. Where several lanes write to a partition, each of them counts as one: what
// they write is in order for itself.
func (c *Chain) partition(m *Message) int {
	in := &c.inputs[m.Input]
	if in.From == config.Ingress { // whoever publishes there may use a number for something else
		return noPartition
	}
	partition, lane, ok := c.wrote(in, m.Subject)
	switch {
	case !ok:
		return noPartition
	case !in.Repartitioned:
		return partition
	case lane >= c.partitions: // it replays the overflow of a lane
		return c.partitions*c.partitions + partition*c.partitions + lane - c.partitions
	}
	return partition*c.partitions + lane
}

// wrote reads off the end of a subject which partition a message is of and, where several lanes write to one, which lane has written it
// (see outletsOf). Lanes that replay an overflow come after all others.
func (c *Chain) wrote(in *Input, subject string) (partition, lane int, ok bool) {
	rest, last := cutLast(subject)
	if in.Repartitioned {
		if lane = number(last, 2*c.partitions); lane == noPartition {
			return noPartition, lane, false
		}
		_, last = cutLast(rest)
	}
	partition = number(last, c.partitions)
	return partition, lane, partition != noPartition
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
