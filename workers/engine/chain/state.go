package chain

import (
	"encoding/binary"
	"errors"

	"millrace.dev/millrace/workers/stage"
)

// Keeps says whether the stages can keep their state: none that remembers has to replay.
func (c *Chain) Keeps() bool {
	keeps := false
	for i := range c.instances {
		if r, ok := c.instances[i].stage.(stage.Rebuilder); ok && r.Horizon() > 0 {
			if _, ok := r.(stage.Snapshotter); !ok {
				return false
			}
			keeps = true
		}
	}
	return keeps
}

// Spoiled says that a stage has failed in the middle: its state may hold a part of what it was at, and is not to be kept.
func (c *Chain) Spoiled() bool { return c.spoiled.Load() }

// kept yields the stages whose state is kept.
func (c *Chain) kept(yield func(stage.Snapshotter) bool) {
	for i := range c.instances {
		if s, ok := c.instances[i].stage.(stage.Snapshotter); ok && s.Horizon() > 0 && !yield(s) {
			return
		}
	}
}

// Snapshot appends the state of the stages to b: behind all that they were given, so call Settle before. After an error the chain is
// spoiled.
func (c *Chain) Snapshot(b []byte) ([]byte, error) {
	for s := range c.kept {
		from := len(b)
		b = append(b, make([]byte, binary.MaxVarintLen64)...)
		var err error
		if b, err = c.snapshotOf(s, b); err != nil {
			c.spoiled.Store(true)
			return nil, err
		}
		// The length stands before the state, in as many bytes as it takes.
		size := len(b) - from - binary.MaxVarintLen64
		head := binary.PutUvarint(b[from:], uint64(size))
		b = append(b[:from+head], b[from+binary.MaxVarintLen64:]...)
	}
	return b, nil
}

func (c *Chain) snapshotOf(s stage.Snapshotter, b []byte) (out []byte, err error) {
	defer c.recovered(&err)
	return s.Snapshot(b)
}

// Restore gives the stages the state that Snapshot wrote. They were flushed up to tick, in Unix milliseconds, and have processed each input up
// to last. After an error the stages are of no use any more.
func (c *Chain) Restore(state []byte, tick int64, last []uint64) error {
	for s := range c.kept {
		n, k := binary.Uvarint(state)
		if k <= 0 || n > uint64(len(state)-k) {
			return errors.New("it ends too early")
		}
		if err := c.restore(s, state[k:k+int(n)]); err != nil {
			return err
		}
		state = state[k+int(n):]
	}
	c.tick = tick
	for i, seq := range last {
		c.last[i] = max(c.last[i], seq)
	}
	return nil
}

func (c *Chain) restore(s stage.Snapshotter, state []byte) (err error) {
	defer c.recovered(&err)
	return s.Restore(state)
}
