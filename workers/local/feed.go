package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/event/jsontext"
)

const (
	feedLines  = 256
	feedBytes  = 128 << 10
	feedLinger = 5 * time.Millisecond
	feedWindow = 64
	// maxSettleWait is the longest wait between two tries to publish on a full ingress.
	maxSettleWait = time.Second
)

// feeder publishes the events of an input as NDJSON messages on the ingress, a line each, as a
// collector would. What is no event is the pipeline's to dead-letter.
type feeder struct {
	js      jetstream.JetStream
	stream  string  // the ingress
	subject string  // below it
	run     string  // distinguishes the message ids of this run
	rate    float64 // events per second; 0 = as fast as the pipeline takes them

	// stuck, where it is set, says that the stages are done with all that is stored.
	stuck func(context.Context) (bool, error)

	sent atomic.Int64 // events published
	full atomic.Bool  // the ingress takes no more for now
	n    int64        // messages
}

// feed reads events until the input ends or ctx does. Every event that it counts is stored.
func (f *feeder) feed(ctx context.Context, in io.Reader) error {
	lines := make(chan []byte, feedLines)
	readErr := make(chan error, 1)
	go func() { readErr <- readTexts(ctx, in, lines); close(lines) }()

	pending := make([]jetstream.PubAckFuture, 0, feedWindow)
	started := time.Now()
	for {
		msg, n, more := f.next(ctx, lines)
		if n > 0 {
			if err := f.pace(ctx, started, n); err != nil {
				break
			}
			future, err := f.publish(msg)
			if err != nil {
				return err
			}
			pending = append(pending, future)
			if len(pending) == feedWindow {
				if err := f.settle(ctx, pending[0]); err != nil {
					return err
				}
				pending = append(pending[:0], pending[1:]...)
			}
		}
		if !more {
			break
		}
	}
	// Stopped or not, what was published is settled before the count is believed.
	for _, p := range pending {
		if err := f.settle(ctx, p); err != nil {
			return err
		}
	}
	select {
	case err := <-readErr:
		return err
	default: // Ctrl-C while a read of standard input blocks: nothing of it was taken.
		return ctx.Err()
	}
}

// next collects the lines of one message: until it is full, or nothing came for feedLinger.
func (f *feeder) next(ctx context.Context, lines <-chan []byte) (msg *nats.Msg, n int, more bool) {
	msg = nats.NewMsg(f.subject)
	var linger <-chan time.Time
	limit := feedLines
	if f.rate > 0 { // about 100 messages a second at most, so that a low rate stays smooth
		limit = max(1, min(feedLines, int(f.rate/100)))
	}
	for n < limit && len(msg.Data) < feedBytes {
		select {
		case line, ok := <-lines:
			if !ok {
				return f.label(msg, n), n, false
			}
			msg.Data = append(append(msg.Data, line...), '\n')
			n++
			if linger == nil {
				t := time.NewTimer(feedLinger)
				defer t.Stop()
				linger = t.C
			}
		case <-linger:
			return f.label(msg, n), n, true
		case <-ctx.Done():
			return f.label(msg, n), n, false
		}
	}
	return f.label(msg, n), n, true
}

func (f *feeder) label(msg *nats.Msg, n int) *nats.Msg {
	f.n++
	msg.Header.Set("Content-Type", "application/x-ndjson")
	msg.Header.Set(frame.HeaderEvents, strconv.Itoa(n))
	msg.Header.Set(nats.MsgIdHdr, f.run+":"+strconv.FormatInt(f.n, 10))
	return msg
}

func (f *feeder) pace(ctx context.Context, started time.Time, n int) error {
	if f.rate <= 0 {
		return nil
	}
	due := started.Add(time.Duration(float64(f.sent.Load()) / f.rate * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *feeder) publish(msg *nats.Msg) (jetstream.PubAckFuture, error) {
	future, err := f.js.PublishMsgAsync(msg)
	if err != nil {
		return nil, fmt.Errorf("publish input: %w", err)
	}
	f.sent.Add(eventsOf(msg))
	return future, nil
}

func eventsOf(msg *nats.Msg) int64 {
	n, _ := strconv.ParseInt(msg.Header.Get(frame.HeaderEvents), 10, 64) // set by label
	return n
}

// settle waits for one PubAck. A full ingress stream pushes back: the message is published
// again, under the same id, until there is room. When ctx ends before, it does not count.
func (f *feeder) settle(ctx context.Context, future jetstream.PubAckFuture) error {
	defer f.full.Store(false)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, maxSettleWait) {
		var refused error
		select {
		case <-future.Ok():
			return nil
		case refused = <-future.Err():
		case <-time.After(10 * time.Second):
			return errors.New("publish input: no answer from the embedded NATS server for 10s")
		}
		f.full.Store(true)
		if wait == maxSettleWait {
			if err := f.hopeless(context.WithoutCancel(ctx), refused); err != nil {
				return err
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			f.sent.Add(-eventsOf(future.Msg()))
			return nil
		}
		again, err := f.js.PublishMsgAsync(future.Msg())
		if err != nil {
			return fmt.Errorf("publish input: %w", err)
		}
		future = again
	}
}

// hopeless is an error when nothing but time makes room in the ingress: streams keep what is
// processed, and a run that ends by itself would wait for hours.
func (f *feeder) hopeless(ctx context.Context, refused error) error {
	if f.stuck == nil {
		return nil
	}
	if stuck, err := f.stuck(ctx); !stuck || err != nil {
		return err
	}
	return fmt.Errorf("publish input: the ingress stream %s takes no more (%w), and every stage has processed what it holds: raise spec.streams.maxBytes", f.stream, refused)
}

// inputError says that the input cannot be read on: nothing is wrong with what was read of it.
type inputError struct{ err error }

func (e inputError) Error() string { return "--input: " + e.err.Error() }
func (e inputError) Unwrap() error { return e.err }

// readTexts sends the texts of the events of in, each as one line.
func readTexts(ctx context.Context, in io.Reader, lines chan<- []byte) error {
	for text, err := range jsontext.NewReader(in, jsontext.MaxText).All() {
		if err != nil {
			return inputError{err}
		}
		select {
		case lines <- oneLine(text):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// oneLine returns a copy of text without line breaks. JSON has them between its values only.
func oneLine(text []byte) []byte {
	line := bytes.Clone(text)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	return line
}
