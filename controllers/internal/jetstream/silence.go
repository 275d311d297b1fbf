package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A server may hold its connections and answer nothing: stopped, out of disk, cut off behind a
// proxy. Each request then costs its full timeout. The first caller that meets this asks the
// server once more how it is; when that too is not answered, the connection counts as silent, all
// further callers fail at once, and one goroutine asks until there is an answer.

// silenced returns the failure while the server is silent.
func (c *Client) silenced() error {
	if failure := c.silence.Load(); failure != nil {
		return *failure
	}
	return nil
}

// suspect is told of an error of a request. One that was not answered makes it ask the server.
func (c *Client) suspect(err error) {
	if !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if c.silenced() != nil || c.answers() {
		return // the asset has no leader; the server is well
	}
	failure := error(c.unreachable(fmt.Errorf("connected, but JetStream does not answer: %w", err)))
	if c.silence.CompareAndSwap(nil, &failure) {
		c.notify(Notice{Connection: c.connection})
		go c.untilAnswered()
	}
}

func (c *Client) answers() bool {
	_, err := c.nc.Request(c.domain.API("INFO"), nil, c.timeout/4)
	return err == nil
}

func (c *Client) untilAnswered() {
	for !c.nc.IsClosed() {
		if c.nc.IsConnected() && c.answers() {
			c.silence.Store(nil)
			c.notify(Notice{Connection: c.connection})
			return
		}
		time.Sleep(c.retry)
	}
}
