package chain

import (
	"context"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/stage"
)

// question is a batch that the first stage was given, and waits for answers about.
type question struct {
	batch stage.Batch
	// asks are the places of its events in the message; nil = they are all there are.
	asks  []int
	began time.Time
	// cancel frees what the deadline of the call takes.
	cancel context.CancelFunc
	// done takes what Process would have returned.
	done     chan error
	answered atomic.Bool
	// waiting has room for as many as may wait at once.
	waiting chan struct{}
}

// answer ends the wait. What comes after the first answer counts for nothing.
func (q *question) answer(err error) {
	if q.answered.CompareAndSwap(false, true) {
		q.cancel()
		q.done <- err
		<-q.waiting
	}
}
