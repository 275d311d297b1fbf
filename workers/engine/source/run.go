package source

import (
	"context"
	"time"
)

// nextPull returns the request to make now, if any: when half of what may be in hand is free.
func (in *Input) nextPull(maxPayload int) (Amount, bool) {
	half := Amount{max(in.maxMessages/2, 1), max(in.budget/2, 1)}
	if in.inHand.Messages == 0 && in.pulls.asked.Messages == 0 {
		// The largest message there can be must fit when nothing is in hand.
		return Amount{half.Messages, max(half.Bytes, maxPayload+messageOverhead)}, true
	}
	free := Amount{
		in.maxMessages - in.inHand.Messages - in.pulls.asked.Messages,
		in.budget - in.inHand.Bytes - in.pulls.asked.Bytes,
	}
	if in.oversize || free.Messages < max(half.Messages/2, 1) || free.Bytes < max(half.Bytes/2, 1) {
		return Amount{}, false
	}
	return Amount{min(free.Messages, half.Messages), min(free.Bytes, half.Bytes)}, true
}

// Run asks for messages until ctx ends. It binds to the consumer again when that was lost;
// when the stream is not the same any more, it ends with ErrAnotherStream. often has it ask often for the time of the server
// while nothing comes (QuietUntil).
func (in *Input) Run(ctx context.Context, often bool) error {
	in.often = often
	defer in.Close() // what it has asked for is not to go to a worker that has lost the lane
	tick := time.NewTicker(inputTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.wake:
		case <-tick.C:
			in.look(ctx)
		}
		ok, err := in.ready(ctx)
		if err != nil {
			return err
		}
		if ok {
			in.ask()
		}
	}
}

// ask sends the pull requests that there is room for.
func (in *Input) ask() {
	for {
		in.mu.Lock()
		a, ok := in.nextPull(int(in.conn.MaxPayload()))
		if !ok || !in.bound || in.draining {
			in.mu.Unlock()
			return
		}
		id := in.pulls.add(a, in.now())
		inbox := in.inbox
		in.mu.Unlock()
		if err := in.conn.PublishRequest(in.next, inbox+"."+id, a.request()); err != nil {
			in.mu.Lock()
			in.pulls.end(id, a)
			in.pause()
			in.mu.Unlock()
			return
		}
	}
}

// Reconnected forgets what the old connection made.
func (in *Input) Reconnected() {
	in.mu.Lock()
	in.pulls.reset()
	in.bound, in.notBefore, in.failures = false, 0, 0
	in.mu.Unlock()
	in.signal()
}
