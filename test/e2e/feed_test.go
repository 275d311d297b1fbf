//go:build e2e

package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// insightFeed has what was told so far, and lets several goroutines wait for more.
type insightFeed struct {
	mu   sync.Mutex
	told []*told
	more chan struct{} // closed at the next insight
}

// followInsights follows the stream of insights until the test ends.
func followInsights(t *testing.T, c *cluster) *insightFeed {
	t.Helper()
	feed := &insightFeed{more: make(chan struct{})}
	consumer, err := c.js.OrderedConsumer(t.Context(), "INSIGHTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	following, err := consumer.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		if one, err := readInsight(m.Data()); err == nil { // who reads them all says what cannot be read
			one.at = meta.Timestamp
			feed.add(one)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(following.Stop)
	return feed
}

func (f *insightFeed) add(one *told) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, one)
	close(f.more)
	f.more = make(chan struct{})
}

// wait returns the first insight that match accepts, also one of the past, or nil when none comes in time.
func (f *insightFeed) wait(timeout time.Duration, match func(*told) bool) *told {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for next := 0; ; {
		f.mu.Lock()
		fresh, more := f.told[next:], f.more
		f.mu.Unlock()
		for _, one := range fresh {
			if match(one) {
				return one
			}
		}
		next += len(fresh)
		select {
		case <-more:
		case <-timer.C:
			return nil
		}
	}
}
