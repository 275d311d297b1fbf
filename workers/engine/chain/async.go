package chain

import (
	"context"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// A first stage that is asynchronous (stage.Async) is given the next messages while it waits for the answers to those before. Everything
// else is downstream of the cut: a job for each message waits for its answers, and the jobs are in the order of the input.

// maxInFlight is how many batches may wait for answers at most.
const maxInFlight = 256

// ask gives the first stage the events of a message. It is nil for those of a message that node cuts, which are processed one part after
// another: what stages add to the events of one message goes to one memory.
func (c *Chain) ask(ctx context.Context, cur *cursor, events []event.Event) *question {
	if len(events) == 0 || len(events) > c.head.Limits.MaxEvents {
		return nil
	}
	events, asks := c.toAsk(events)
	select {
	case c.asked <- struct{}{}:
	case <-ctx.Done(): // the job that is given this will see that, too
		return nil
	}
	q := &question{asks: asks, began: c.now(), done: make(chan error, 1), waiting: c.asked}
	q.batch.Events, q.batch.Now, q.batch.Partition, q.batch.Replayed = events, cur.now, cur.partition, c.replay != nil
	q.batch.Reset(1)
	ctx, q.cancel = context.WithTimeout(ctx, c.callTimeout)
	if len(events) == 0 { // all of them follow others
		q.answer(nil)
		return q
	}
	if err := c.begin(ctx, q); err != nil {
		q.answer(err)
	}
	return q
}

// begin has the first stage begin; a panic becomes an error.
func (c *Chain) begin(ctx context.Context, q *question) (err error) {
	defer c.recovered(&err)
	c.instances[0].stage.(stage.Async).Begin(ctx, &q.batch, q.answer)
	return nil
}

// await waits until the first stage has decided about a message, and takes over what it decided.
func (c *Chain) await(ctx context.Context, n *Node, q *question, events []event.Event, decisions []stage.Decision) {
	busy := &c.busySince[c.partOf(n)]
	busy.Store(c.now().UnixNano())
	defer busy.Store(0)
	var err error
	select {
	case err = <-q.done:
		n.Calls.Observe(c.now().Sub(q.began).Seconds())
	case <-ctx.Done(): // it is decided again by the next owner
		err = stage.Unavailable(ctx.Err())
	}
	if q.asks == nil {
		c.judge(ctx, n, &q.batch, err, decisions, places{}, 1)
		return
	}
	for i := range decisions {
		decisions[i] = stage.Decision{Verdict: stage.Overflow}
	}
	own := make([]stage.Decision, len(q.asks))
	c.judge(ctx, n, &q.batch, err, own, places{0, q.asks}, 1)
	for j, i := range q.asks {
		events[i], decisions[i] = q.batch.Events[j], own[j] // with what the stage added
	}
}
