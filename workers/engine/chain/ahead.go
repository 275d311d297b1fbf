package chain

import (
	"context"
	"slices"

	"millrace.dev/millrace/workers/event/decode"
)

// ahead decodes the messages of a step, one after another, while the stages are at the one before.
type ahead struct {
	c      *Chain
	out    chan decoded // closed when the work has ended
	cancel context.CancelFunc
}

type decoded struct {
	memory  *memory
	bad     []decode.Undecodable
	measure Measure
}

func (c *Chain) decodeAhead(parent context.Context, s *Step) *ahead {
	ctx, cancel := context.WithCancel(parent)
	a := &ahead{c: c, out: make(chan decoded, 1), cancel: cancel}
	messages := slices.Clone(s.Messages) // the step may lose some while they are decoded
	go func() {
		defer close(a.out)
		for i := range messages {
			var d decoded
			select {
			case d.memory = <-c.memories:
			case <-ctx.Done():
				return
			}
			d.memory.empty()
			d.bad, d.measure = d.memory.decode(&messages[i])
			select {
			case a.out <- d:
			case <-ctx.Done():
				c.memories <- d.memory
				return
			}
		}
	}()
	return a
}

// end waits until nothing is decoded any more, and gives back what nobody took.
func (a *ahead) end() {
	a.cancel()
	for d := range a.out {
		a.c.memories <- d.memory
	}
}
