package chain

import (
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/stage"
)

// Open has the stages work, one for each node. They were never flushed, and last is up to where the input is processed.
func (c *Chain) Open(stages []stage.Stage, doubt *progress.Doubt, last []uint64) {
	if a, ok := stages[0].(stage.Async); ok && !c.head.Stateful {
		c.inFlight = min(max(a.InFlight(), 1), maxInFlight)
		c.asked = make(chan struct{}, c.inFlight)
		c.parts, c.cut = [2][]*Node{nil, c.nodes}, 0 // behind the answers
	}
	c.makeMemories()
	c.flushes, c.every = false, 0
	for i, s := range stages {
		c.Replace(i, s)
		if c.instances[i].flusher != nil {
			c.flushes, c.every = true, commonTick(c.every, c.instances[i].every)
		}
	}
	c.doubt, c.tick = doubt, 0
	c.watermarks = newWatermarks(c.inputs, c.lanes, c.partitions)
	copy(c.last, last)
}

// Replace has node number i decide by s from now on.
func (c *Chain) Replace(i int, s stage.Stage) {
	at := &c.instances[i]
	at.stage = s
	at.flusher, _ = s.(stage.Flusher)
	_, at.sink = s.(stage.Sink)
	if at.watermarked = nil; i == 0 {
		at.watermarked, _ = s.(stage.Watermarked)
	}
	at.every = stage.TickOf(s).Milliseconds()
}

// commonTick is the longest time of which both are multiples, by Euclid's algorithm; 0 is a multiple of any.
func commonTick(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
