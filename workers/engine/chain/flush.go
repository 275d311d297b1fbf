package chain

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// FlushUntil flushes the stages at each tick of theirs up to a moment of stream time, in Unix milliseconds.
func (c *Chain) FlushUntil(ctx context.Context, s *Step, until int64) bool {
	if !c.flushes {
		return true
	}
	until -= until % c.every
	if c.tick == 0 {
		c.tick = until
		return true
	}
	// What ends by the clock has ended, in a lane that was at work all the time, at a certain tick behind the last
	// message: so these are flushed one by one. Later there is nothing left to end.
	gradual := until
	if until-c.tick > oneByOne.Milliseconds() {
		gradual = c.tick + max(oneByOne, c.Horizon()).Milliseconds()
	}
	for c.tick < until {
		c.tick += c.every
		if c.tick > gradual {
			c.tick = until
		}
		if ctx.Err() != nil || !c.flush(ctx, s, c.tick, false, new(error)) {
			return false
		}
	}
	return true
}

// FlushQuiet is FlushUntil for a lane that has received everything; it calls done when all stages are through, which says whether they made something.
func (c *Chain) FlushQuiet(ctx context.Context, s *Step, until int64, done func(made bool)) bool {
	return c.FlushUntil(ctx, s, until) && c.then(ctx, &cursor{s: s}, func(*cursor) bool {
		done(len(s.Pending)+len(s.later) > 0)
		return true
	})
}

// oneByOne is how much time without input is flushed tick by tick at most, where the stages do not remember longer.
const oneByOne = time.Hour

// flush lets the stages emit by stream time, at a tick. No input waits for that but what they make.
func (c *Chain) flush(ctx context.Context, s *Step, tick int64, final bool, failed *error) bool {
	at := progress.Position{Seq: c.last[0], Tick: tick}
	now := time.UnixMilli(tick)
	if final {
		now, at.Tick = c.now(), progress.FinalTick
	}
	cur := &cursor{s: s, now: now, at: at, replayed: c.replaying, partition: noPartition}
	c.memory = nil // what is made is new
	return c.flushNodes(ctx, cur, c.parts[0], final, failed) && c.then(ctx, cur, func(cur *cursor) bool {
		return c.flushNodes(ctx, cur, c.parts[1], final, failed)
	})
}

// flushNodes flushes some stages, and notes in failed what went wrong.
func (c *Chain) flushNodes(ctx context.Context, cur *cursor, nodes []*Node, final bool, failed *error) bool {
	for _, n := range nodes {
		f := c.instances[n.Index].flusher
		if f == nil || !final && cur.at.Tick%c.instances[n.Index].every != 0 {
			continue
		}
		sr := &c.scratch[n.Index]
		if err := c.callFlush(ctx, n, f, cur.now, final); err != nil {
			*failed = fmt.Errorf("flush stage %s: %w", n.Stage, err)
			c.spoiled.Store(true)
			if c.panics.Allow(c.now()) {
				c.log.Error("the stage failed to flush", "stage", n.Stage, "error", err)
			}
			continue
		}
		sr.produced = emptied(sr.produced)
		sr.keep(&sr.batch, places{})
		sr.made = c.produce(cur, n, sr.produced, emptied(sr.made))
		if !c.descend(ctx, cur, n, sr.made) {
			return false
		}
		// What it held back may have left, and while nothing comes nobody else asks up to where it holds nothing.
		if n == c.head && c.watermarks.held > 0 && len(sr.produced) > 0 && !c.tellStage(ctx, cur) {
			return false
		}
	}
	return true
}

func (c *Chain) callFlush(ctx context.Context, n *Node, f stage.Flusher, now time.Time, final bool) (err error) {
	b := &c.scratch[n.Index].batch
	b.Events, b.Now, b.Partition, b.Newest = []event.Event(nil), now, noPartition, time.Time{}
	b.Reset(1)
	ctx, cancel := context.WithTimeout(ctx, c.callTimeout)
	defer cancel()
	defer c.clocked(n)()
	defer c.recovered(&err)
	return f.Flush(ctx, now, final, b)
}

// DueAt says whether FlushUntil has something to do at a moment. Where the stages were never flushed, they are flushed at it.
func (c *Chain) DueAt(until int64) bool {
	until -= until % c.every
	if c.tick == 0 {
		c.tick = until - c.every
	}
	return until > c.tick
}

// FlushFinal has the stages emit everything that they still hold, and calls done when all of them have. It returns false when
// the work ended before that.
func (c *Chain) FlushFinal(ctx context.Context, s *Step, done func(error)) bool {
	var failed error
	return c.flush(ctx, s, progress.FinalTick, true, &failed) && c.then(ctx, &cursor{s: s}, func(*cursor) bool {
		done(failed)
		return true
	})
}
