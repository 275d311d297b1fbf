package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// publisher publishes the events of a run, as a collector does: asynchronously, with a
// bounded number of messages whose PubAck is awaited.
type publisher struct {
	js      jetstream.JetStream
	subject string
	failed  atomic.Pointer[error]
	// sent are the times of the publishes, or when they were due, by position of the message.
	sent []int64
	// done is how many events of the run the last stages have acknowledged, as far as known.
	done atomic.Int64
}

const (
	frameWindow = 64
	jsonWindow  = 2048
)

func newPublisher(conn *nats.Conn, subject string, window int) (*publisher, error) {
	p := &publisher{subject: subject}
	var err error
	p.js, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			p.failed.CompareAndSwap(nil, &err)
		}))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return p, nil
}

// message is what is published: JSON as it is, frames with the headers that say so.
func (p *publisher) message(data []byte, frameOf int) *nats.Msg {
	m := &nats.Msg{Subject: p.subject, Data: data}
	if frameOf > 0 {
		m.Header = nats.Header{
			event.HeaderContentType: {event.ContentTypeFrame}, frame.HeaderEvents: {strconv.Itoa(frameOf)},
		}
	}
	return m
}

func (p *publisher) send(m *nats.Msg) error {
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("publish: %w", *err)
	}
	if _, err := p.js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// finish waits for the PubAcks that are not there yet.
func (p *publisher) finish(ctx context.Context) error {
	select {
	case <-p.js.PublishAsyncComplete():
	case <-ctx.Done():
		return fmt.Errorf("publish: %w", ctx.Err())
	}
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("publish: %w", *err)
	}
	return nil
}

// load says how fast to publish what.
type load struct {
	messages *blob
	// perMessage is the number of events in one message; frames when it is more than one.
	perMessage int
	// lead bounds how many events may be published and not acknowledged by the last stages.
	lead int
	// rate is in events a second; 0 = as fast as lead lets.
	rate float64
	// atMost bounds the time and events the number of events.
	atMost time.Duration
	events int
}

// run publishes and returns the number of events.
func (p *publisher) run(ctx context.Context, l load) (int, error) {
	began := time.Now()
	frameOf := 0
	if l.perMessage > 1 {
		frameOf = l.perMessage
	}
	count := min(l.messages.len(), l.events/l.perMessage)
	p.sent = make([]int64, 0, count)
	for i := range count {
		due, err := p.await(ctx, l, began, i*l.perMessage)
		if errors.Is(err, errTimeIsUp) {
			break
		}
		if err != nil {
			return 0, err
		}
		p.sent = append(p.sent, due)
		if err := p.send(p.message(l.messages.at(i), frameOf)); err != nil {
			return 0, err
		}
	}
	return len(p.sent) * l.perMessage, p.finish(ctx)
}

var errTimeIsUp = errors.New("time is up")

// await waits until the event at a position may be published, and returns since when it
// might have been.
func (p *publisher) await(ctx context.Context, l load, began time.Time, position int) (int64, error) {
	if l.rate > 0 {
		due := began.Add(time.Duration(float64(position) / l.rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		return due.UnixNano(), ctx.Err()
	}
	for l.lead > 0 && position-int(p.done.Load()) >= l.lead {
		if time.Since(began) > l.atMost {
			return 0, errTimeIsUp
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		time.Sleep(500 * time.Microsecond)
	}
	now := time.Now()
	if now.Sub(began) > l.atMost {
		return 0, errTimeIsUp
	}
	return now.UnixNano(), nil
}
