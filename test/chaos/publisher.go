package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// window is how many messages wait for their PubAck at most.
const window = 32

// patience is how long the publisher waits for a PubAck before it sends the message again,
// under the same id.
const patience = 3 * time.Second

// codeFull is what the server answers when a stream with DiscardNew is full.
const codeFull = 10077

// publisher publishes an input, as a collector that gives up nothing does.
type publisher struct {
	js   jetstream.JetStream
	rate int // events a second

	mu sync.Mutex
	// confirmed are the ids of the messages whose PubAck came.
	confirmed map[string]bool
	// full and repeated count refusals because the stream is full, and other attempts that failed.
	full, repeated int
	fullText       string
}

func newPublisher(conn *nats.Conn, rate int) (*publisher, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &publisher{js: js, rate: rate, confirmed: map[string]bool{}}, nil
}

// run publishes all messages at the rate of p and returns when each is confirmed.
func (p *publisher) run(ctx context.Context, in *input) error {
	queue := make(chan *message)
	var senders sync.WaitGroup
	for range window {
		senders.Go(func() {
			for m := range queue {
				p.send(ctx, m)
			}
		})
	}
	began, events := time.Now(), 0
	for _, m := range in.messages {
		due := began.Add(time.Duration(events) * time.Second / time.Duration(p.rate))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
		queue <- m
		events += len(m.lines)
	}
	close(queue)
	senders.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("publish: %d of %d messages were confirmed: %w", p.count(), len(in.messages), ctx.Err())
	}
	return nil
}

// send publishes m until it is confirmed.
func (p *publisher) send(ctx context.Context, m *message) {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, patience)
		msg := m.msg // the client changes it
		_, err := p.js.PublishMsg(try, &msg, jetstream.WithRetryAttempts(0))
		cancel()
		p.note(m, err)
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (p *publisher) note(m *message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		p.confirmed[m.id] = true
	case errors.As(err, &refusal) && refusal.ErrorCode == codeFull:
		p.full++
		p.fullText = err.Error()
	default:
		p.repeated++
	}
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.confirmed)
}

// refusals is how often the stream was full, and what the publisher was told.
func (p *publisher) refusals() (int, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full, p.fullText
}
