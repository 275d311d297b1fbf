package engine

import (
	"context"
	"fmt"
	"math"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// flushUntil flushes the stages for each whole second of stream time up to second.
func (l *lane) flushUntil(ctx context.Context, s *step, second int64) bool {
	if !l.flushes {
		return true
	}
	if l.tick == 0 {
		l.tick = second
		return true
	}
	// What ends by the clock has ended, in a lane that was at work all the time, in a certain second behind the last
	// message: so these are flushed one by one. Later there is nothing left to end.
	gradual := second
	if second-l.tick > maxFlushes {
		gradual = l.tick + max(maxFlushes, int64(l.horizon()/time.Second))
	}
	for l.tick < second {
		l.tick++
		if l.tick > gradual {
			l.tick = second
		}
		if ctx.Err() != nil || !l.flush(ctx, s, l.tick, false, new(error)) {
			return false
		}
	}
	return true
}

// maxFlushes is how many seconds without input are flushed one by one at most, where the stages do not remember longer.
const maxFlushes = 3600

// flush lets the stages emit by stream time. No input waits for that but what they make.
func (l *lane) flush(ctx context.Context, s *step, second int64, final bool, failed *error) bool {
	at := progress.Position{Seq: l.last[0], Tick: second}
	now := time.Unix(second, 0)
	if final {
		now, at.Tick = l.e.now(), progress.FinalTick
	}
	sc := &scene{s: s, now: now, at: at, replayed: l.replaying, partition: noPartition}
	l.hand = nil // what is made is new
	return l.flushNodes(ctx, sc, l.e.halves[0], final, failed) && l.then(ctx, sc, func(sc *scene) bool {
		return l.flushNodes(ctx, sc, l.e.halves[1], final, failed)
	})
}

// flushNodes flushes some stages, and notes in failed what went wrong.
func (l *lane) flushNodes(ctx context.Context, sc *scene, nodes []*node, final bool, failed *error) bool {
	for _, n := range nodes {
		f := l.instances[n.index].flusher
		if f == nil {
			continue
		}
		sr := &l.scratch[n.index]
		sr.made = sr.made[:0]
		if err := l.callFlush(ctx, n, f, sc.now, final); err != nil {
			*failed = fmt.Errorf("flush stage %s: %w", n.cfg.Stage, err)
			if l.e.panics.allow(l.e.now()) {
				l.log.Error("the stage failed to flush", "stage", n.cfg.Stage, "error", err)
			}
			continue
		}
		sr.produced = append(sr.produced[:0], sr.batch.Produced()...)
		l.produce(sc, n, sr.produced)
		if !l.children(ctx, sc, n, nil) {
			return false
		}
	}
	return true
}

func (l *lane) callFlush(ctx context.Context, n *node, f stage.Flusher, now time.Time, final bool) (err error) {
	b := &l.scratch[n.index].batch
	b.Events, b.Now, b.Partition = []event.Event(nil), now, noPartition
	b.Reset(1)
	defer l.clocked(n)()
	defer l.e.recovered(&err)
	return f.Flush(ctx, now, final, b)
}

// idleMargin is how many seconds the stream time is behind the clock of the server that has the consumer while nothing
// comes: the clock of the server that stores the messages may be another one, and a replica may be behind.
const idleMargin = 2

// flushIdle flushes by the clock of the server while no message is there.
func (l *lane) flushIdle(ctx context.Context) (*step, bool) {
	if len(l.queue) > 0 || l.working.Load() > 0 || l.pending() {
		return nil, true
	}
	second, known := l.quietUntil()
	if !known {
		return nil, true
	}
	if l.tick == 0 {
		l.tick = second - 1
	}
	if second <= l.tick {
		return nil, true
	}
	select {
	case s := <-l.free:
		s.reset()
		l.working.Add(1)
		ok := l.flushUntil(ctx, s, second)
		return s, ok
	default:
		return nil, true
	}
}

// quietUntil is the second of stream time up to which the lane has received everything, as the server says (input.look).
func (l *lane) quietUntil() (second int64, known bool) {
	second = math.MaxInt64
	for _, in := range l.inputs {
		in.mu.Lock()
		second = min(second, in.quiet/int64(time.Second)-idleMargin)
		known = in.quiet > 0
		in.mu.Unlock()
		if !known {
			return 0, false
		}
	}
	return second, true
}

// pending says whether the server has messages that did not come yet.
func (l *lane) pending() bool {
	for _, in := range l.inputs {
		in.mu.Lock()
		n := in.pending
		ok := in.bound
		in.mu.Unlock()
		if n > 0 || !ok {
			return true
		}
	}
	return false
}

// flushFinal has the stages emit everything that they still hold.
func (l *lane) flushFinal(ctx context.Context, r flushRequest) (*step, bool) {
	if !l.flushes {
		r.done <- nil
		return nil, true
	}
	var s *step
	select {
	case s = <-l.free:
	case <-ctx.Done():
		return nil, false
	}
	s.reset()
	l.working.Add(1)
	var failed error
	ok := l.flush(ctx, s, progress.FinalTick, true, &failed) && l.then(ctx, &scene{s: s}, func(*scene) bool {
		r.done <- failed
		return true
	})
	return s, ok
}
