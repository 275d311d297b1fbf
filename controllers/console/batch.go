package console

import (
	"sync"
	"time"
)

// Bounds of a batch: a tap that is faster is slowed down by its page, which reads no faster than it can draw.
const (
	batchEvents = 200
	batchBytes  = 512 << 10
)

// batch collects events, and sends them together.
type batch struct {
	s *stream
	c *console

	mu     sync.Mutex
	events []stored
	size   int
}

func (b *batch) add(e stored) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	b.size += len(e.Event) + len(e.Raw) + len(e.Text) + 300
	if len(b.events) < batchEvents && b.size < batchBytes {
		return nil
	}
	return b.flush()
}

// flush sends what there is; the caller holds the lock, so that batches keep their order.
func (b *batch) flush() error {
	if len(b.events) == 0 {
		return nil
	}
	events := b.events
	b.events, b.size = nil, 0
	return b.s.send("events", events)
}

// flushEvery sends what there is now and then, and the rest when done is closed.
func (b *batch) flushEvery(done <-chan struct{}, every time.Duration) error {
	for {
		ended := false
		select {
		case <-done:
			ended = true
		case <-time.After(every):
		}
		b.mu.Lock()
		err := b.flush()
		b.mu.Unlock()
		if err != nil || ended {
			return err
		}
	}
}
