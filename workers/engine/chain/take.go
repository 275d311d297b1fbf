package chain

import (
	"context"
	"math"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// Take takes the messages of s through the stages. It returns false when the work ended
// before that was done: then nothing of s may be stored. Messages that are left to another worker are not in
// s any more.
func (c *Chain) Take(ctx context.Context, s *Step) bool {
	c.watermarks.bare = false
	together := !c.perMessage && s.Frames == 0
	var ahead *ahead
	if c.downstream != nil && !together && len(s.Messages) > 1 {
		ahead = c.decodeAhead(ctx, s)
		defer ahead.end()
	}
	for k := 0; k < len(s.Messages); {
		if c.stopped() { // another worker goes on with the rest
			clear(s.Messages[k:])
			s.Messages = s.Messages[:k]
			break
		}
		if together {
			if n, ok := c.takeTogether(ctx, s, k); !ok {
				return false
			} else if n > 0 {
				k += n
				continue
			}
		}
		if !c.takeMessage(ctx, s, k, ahead) {
			return false
		}
		k++
	}
	return true
}

// Loose messages are decoded and processed at once, up to this many of them, until they have taken up this much
// memory (a small message may hold many events), and as far as they were stored within this time: the stages see
// the time of the first one.
const (
	looseBatch = 256
	looseBytes = 4 << 20
	looseSpan  = int64(100 * time.Millisecond)
)

// takeTogether takes loose messages from k on through stateless stages at once, up to the first one that
// holds something undecodable: that one is taken alone. It returns how many it took.
func (c *Chain) takeTogether(ctx context.Context, s *Step, k int) (n int, ok bool) {
	if !c.begun(ctx) {
		return 0, false
	}
	n = min(len(s.Messages)-k, looseBatch)
	cur := &cursor{
		s: s, messages: s.Messages, m: &s.Messages[k], k: k, first: k, in: s.Messages[k].Input,
		now: time.Unix(0, s.Messages[k].Time), partition: noPartition,
	}
	measures, side := len(s.Measures), c.doubt.Side(cur.in, cur.m.Sequence)
	for i := range s.Messages[k : k+n] {
		m := &s.Messages[k+i]
		if i > 0 && (c.memory.held() > looseBytes || c.doubt.Side(m.Input, m.Sequence) != side || m.Time-cur.m.Time > looseSpan || m.Time < cur.m.Time) {
			n = i
			break
		}
		events := len(c.memory.events)
		if bad := c.decode(s, m); len(bad) > 0 {
			// Those before it are decoded: to throw them away would have each bad message cost many good ones.
			n, c.memory.events, s.Measures = i, c.memory.events[:events], s.Measures[:measures+i]
			break
		}
	}
	for i := range s.Messages[k : k+n] {
		m := &s.Messages[k+i]
		c.last[m.Input] = m.Sequence
		c.note(m)
	}
	return n, c.through(ctx, cur) && c.release(ctx, cur)
}

// takeMessage takes one message through the stages. It is decoded already when ahead is not nil.
func (c *Chain) takeMessage(ctx context.Context, s *Step, k int, ahead *ahead) bool {
	m := &s.Messages[k]
	if !c.FlushUntil(ctx, s, m.Time/int64(time.Millisecond)) {
		return false
	}
	newest := c.note(m)
	if m.Only != nil && len(m.Only) == 0 { // in a replay
		c.last[m.Input] = m.Sequence
		return true
	}
	cur := &cursor{
		s: s, messages: s.Messages, m: m, k: k, first: k, in: m.Input, now: time.Unix(0, m.Time),
		at: progress.Position{Seq: m.Sequence}, replayed: c.replaying, partition: c.partition(m), newest: newest,
	}
	if ahead != nil {
		d, ok := <-ahead.out
		if !ok {
			return false
		}
		c.memory, cur.bad = d.memory, d.bad
		s.Measures = append(s.Measures, d.measure)
	} else {
		if !c.begun(ctx) {
			return false
		}
		cur.bad = c.decode(s, m)
	}
	if !c.through(ctx, cur) || !c.tellStage(ctx, cur) {
		return false
	}
	c.last[m.Input] = m.Sequence
	return c.release(ctx, cur)
}

// through takes the events in hand through the stages, and dead-letters what of their message is no event.
func (c *Chain) through(ctx context.Context, cur *cursor) bool {
	events := c.memory.events
	work := func(cur *cursor) bool {
		cur.s.Tallies[0].Events += int64(len(cur.bad))
		made := &c.scratch[c.head.Index].produced // of the message before: what is made now is counted from 0, whoever had that one
		*made = emptied(*made)
		if len(events) > 0 && !c.node(ctx, cur, c.head, events) {
			return false
		}
		c.deadLetterUndecodable(cur, math.MaxInt)
		return true
	}
	if c.inFlight == 0 || c.downstream == nil {
		return work(cur)
	}
	cur.asked = c.ask(ctx, cur, events)
	return c.then(ctx, cur, work)
}

// decode decodes m behind the events in hand.
func (c *Chain) decode(s *Step, m *Message) (bad []decode.Undecodable) {
	bad, known := c.memory.decode(m)
	s.Measures = append(s.Measures, known)
	return bad
}

// Replay takes the only message of s through the stages, so that they know what they knew: nothing that comes of it is stored.
// It returns false when the work ended before that was done.
func (c *Chain) Replay(ctx context.Context, s *Step) bool {
	c.replaying = true
	defer func() { c.replaying = false }()
	return c.takeMessage(ctx, s, 0, nil)
}

// OnlyMarked says whether the stages need no more than the marked events of the input. What is chained to the first one
// sees nothing else of it.
func (c *Chain) OnlyMarked() bool {
	s, ok := c.instances[0].stage.(stage.Selective)
	return ok && s.OnlyMarked()
}

// Marks returns the positions of the marked events of m, which holds so many; nil = all are to be decoded. The
// sender of a message of the ingress may have written anything. A message that the stage was given in parts is read
// as a whole, so that the parts are the same.
func (c *Chain) Marks(m *Message, events int) []int {
	if h := m.Header[frame.HeaderMarked]; len(h) == 1 && framed(c.inputs[m.Input].From) && events <= c.head.Limits.MaxEvents {
		if marks, ok := frame.ParseMarks(h[0]); ok {
			return marks
		}
	}
	return nil
}
