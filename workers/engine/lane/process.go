package lane

import (
	"context"
	"time"
)

// process takes steps through the stages, and flushes these while nothing comes.
func (l *session) process(ctx context.Context, in <-chan *step, out chan<- *step) {
	ctx, end := l.chain.Start(ctx)
	defer end()
	var idle <-chan time.Time
	if l.chain.Flushes() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		idle = t.C
	}
	for {
		var work func() (*step, bool)
		var asked flushRequest
		select {
		case s, more := <-in:
			if !more {
				l.saver.takeLast(ctx, out)
				return
			}
			work = func() (*step, bool) { return s, l.take(ctx, s) }
		case <-idle:
			work = func() (*step, bool) { return l.flushIdle(ctx) }
		case <-l.teller.C():
			work = l.tell
		case asked = <-l.flushRequests:
			work = func() (*step, bool) { return l.flushAsked(ctx, asked) }
		case <-ctx.Done():
			work = func() (*step, bool) { return nil, false }
		}
		l.chain.SetMaxPayload(l.w.Conn.MaxPayload())
		l.renew(ctx)
		done := l.chain.Done()
		s, ok := work()
		if s != nil {
			s.done, s.Mark = done, l.chain.Mark()
			l.keepsBy(s)
		}
		if s != nil && ok {
			l.saver.take(ctx, s, false)
		}
		if !ok || s != nil && !l.through(ctx, s, out) {
			// Stopped in the middle: nothing of the step is stored.
			asked.fail()
			<-drained(in)
			return
		}
	}
}

// take takes the messages of s through the stages. It returns false when the work ended
// before that was done: then nothing of s may be stored.
func (l *session) take(ctx context.Context, s *step) bool {
	if !l.catchUp(ctx) || !l.pace(ctx, s) {
		return false
	}
	ok := l.chain.Take(ctx, &s.Step)
	clear(s.messages[len(s.Messages):]) // another worker goes on with these
	s.messages = s.messages[:len(s.Messages)]
	return ok
}

// through passes a step on that all stages are done with.
func (l *session) through(ctx context.Context, s *step, out chan<- *step) bool {
	return l.chain.Through(ctx, &s.Step, func() bool {
		select {
		case out <- s:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

// drained returns a channel that is closed when nothing comes from in any more.
func drained(in <-chan *step) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range in { // what comes is not stored
		}
	}()
	return done
}
