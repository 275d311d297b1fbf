package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// acks remembers when messages of a stream were acknowledged, by consumer.
type acks struct {
	mu         sync.Mutex
	byConsumer map[string][]ack
}

// ack says that a consumer has acknowledged a stream sequence, at a Unix time in nanoseconds.
type ack struct {
	sequence uint64
	at       int64
}

func newAcks() *acks { return &acks{byConsumer: map[string][]ack{}} }

func (a *acks) add(consumer string, sequence uint64) {
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byConsumer[consumer] = append(a.byConsumer[consumer], ack{sequence, now})
}

// listen listens to what the workers tell the server: an acknowledgement is a message on
// $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>..., and newer servers may put
// domain and account before the stream.
func (a *acks) listen(conn *nats.Conn, stream string) error {
	for _, prefix := range []string{"$JS.ACK.", "$JS.ACK.*.*."} {
		skip := strings.Count(prefix, ".") + 1
		_, err := conn.Subscribe(prefix+stream+".>", func(m *nats.Msg) {
			if len(m.Data) > 0 && string(m.Data) != "+ACK" {
				return // still at work, or given back
			}
			tokens := strings.Split(m.Subject, ".")
			if len(tokens) < skip+3 {
				return
			}
			if sequence, err := strconv.ParseUint(tokens[skip+2], 10, 64); err == nil {
				a.add(tokens[skip], sequence)
			}
		})
		if err != nil {
			return fmt.Errorf("listen to acknowledgements: %w", err)
		}
	}
	return conn.Flush()
}

// poll asks for the ack floors of consumers, until ctx ends. For many small messages it costs
// less than to listen.
func (a *acks) poll(ctx context.Context, consumers []jetstream.Consumer, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	floors := map[string]uint64{}
	for {
		for _, c := range consumers {
			info, err := c.Info(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("consumer %s: %w", c.CachedInfo().Name, err)
			}
			if at := info.AckFloor.Stream; at != floors[info.Name] {
				floors[info.Name] = at
				a.add(info.Name, at)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// last is when the last acknowledgement came.
func (a *acks) last() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	var at int64
	for _, list := range a.byConsumer {
		for _, one := range list[max(0, len(list)-16):] {
			at = max(at, one.at)
		}
	}
	return time.Unix(0, at)
}

// times answers when a message was acknowledged by all who read it.
type times struct{ consumers []consumerTimes }

type consumerTimes struct {
	filter string
	exact  map[uint64]int64
	// floors are sorted by sequence; the time is the earliest of this sequence or a later one.
	floors []ack
}

// times prepares the look-up. filters holds the filter subject of each consumer.
func (a *acks) times(filters map[string]string) (*times, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &times{}
	for consumer, filter := range filters {
		list := slices.Clone(a.byConsumer[consumer])
		if len(list) == 0 {
			continue // a lane without events
		}
		c := consumerTimes{filter: filter, exact: map[uint64]int64{}}
		for _, one := range list {
			if at, ok := c.exact[one.sequence]; !ok || one.at < at {
				c.exact[one.sequence] = one.at
			}
		}
		slices.SortFunc(list, func(x, y ack) int {
			if x.sequence != y.sequence {
				return compare(x.sequence, y.sequence)
			}
			return compare(x.at, y.at)
		})
		for i := len(list) - 2; i >= 0; i-- {
			list[i].at = min(list[i].at, list[i+1].at)
		}
		c.floors = list
		t.consumers = append(t.consumers, c)
	}
	if len(t.consumers) == 0 {
		return nil, errors.New("no acknowledgement was seen")
	}
	return t, nil
}

func compare[T uint64 | int64](x, y T) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// of is when all consumers whose filter matches have acknowledged the message; 0 when one
// has not.
func (t *times) of(subject string, sequence uint64) int64 {
	var latest int64
	for i := range t.consumers {
		c := &t.consumers[i]
		if !matches(c.filter, subject) {
			continue
		}
		at, ok := c.exact[sequence]
		if !ok {
			k, _ := slices.BinarySearchFunc(c.floors, sequence, func(x ack, s uint64) int { return compare(x.sequence, s) })
			if k == len(c.floors) {
				return 0
			}
			at = c.floors[k].at
		}
		latest = max(latest, at)
	}
	return latest
}

// matches tells whether a subject matches a filter with wildcards.
func matches(filter, subject string) bool {
	if filter == "" {
		return true
	}
	want, have := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range want {
		if token == ">" {
			return len(have) > i
		}
		if i >= len(have) || (token != "*" && token != have[i]) {
			return false
		}
	}
	return len(want) == len(have)
}
