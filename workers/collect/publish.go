package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// Headers of a collector's frame, besides those of every frame.
const (
	HeaderCollector = "Millrace-Collector" // the instance that published it
	headerCluster   = "Millrace-Cluster"
)

const (
	publishTimeout = 5 * time.Second // of an attempt to publish a frame
	minBackoff     = 100 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// publish stores one frame, however long that takes. It returns an error only when ctx ends
// or another collector took over. What NATS will never take is published without the item that
// is to blame for it, which is dropped.
func (p *Publisher) publish(ctx context.Context, batch []Item) error {
	var events []*eventv1.Event
	for _, i := range batch {
		events = append(events, i.Events...)
	}
	err := p.publishFrame(ctx, events)
	reason := refusal(err)
	switch {
	case err == nil:
		for _, i := range batch {
			i.report(nil)
		}
		return nil
	case reason == "":
		return err
	case len(batch) == 1:
		p.metrics.dropped.WithLabelValues(reason).Add(float64(len(events)))
		p.Log.Error("NATS takes no such event; dropped", "id", events[0].Id, "type", events[0].Type, "events", len(events), "error", err)
		batch[0].report(&RefusedError{Reason: reason, Err: err})
		return nil
	}
	half := len(batch) / 2
	if err := p.publish(ctx, batch[:half]); err != nil {
		return err
	}
	return p.publish(ctx, batch[half:])
}

// RefusedError is why NATS never takes some events.
type RefusedError struct {
	// Reason is too_large or invalid.
	Reason string
	Err    error
}

// Error implements error.
func (e *RefusedError) Error() string { return "NATS takes no such event: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// refusal is why an error is the same at each attempt; empty when it may pass.
func refusal(err error) string {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return "too_large"
	case errors.Is(err, errEncode):
		return "invalid"
	}
	return ""
}

// expectation is what must be true for a frame to be stored.
func (p *Publisher) expectation() []jetstream.PublishOpt {
	if p.Shared {
		return nil
	}
	return []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(p.last)}
}

func (p *Publisher) publishFrame(ctx context.Context, events []*eventv1.Event) error {
	msg, err := p.message(events)
	if err != nil {
		return err
	}
	return p.retry(ctx, whatFrame, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		ack, err := p.JetStream.PublishMsg(ctx, msg, p.expectation()...)
		if isWrongSequence(err) {
			stored, err := p.catchUp(ctx, msg.Header.Get(jetstream.MsgIDHeader))
			if err == nil && !stored {
				err = errNotLast
			}
			if err == nil {
				p.metrics.published(events)
			}
			return err
		}
		if err != nil {
			return err
		}
		p.last = ack.Sequence
		p.metrics.published(events)
		return nil
	})
}

// errNotLast asks for another attempt behind a message of somebody else.
var errNotLast = errors.New("there is a newer message on the subject")

// isWrongSequence tells whether the server refused a message that is not behind the one that
// it expected.
func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// catchUp reads what came on the subject after the last message that we know. It tells
// whether our message is among it: its acknowledgement got lost. Messages of no collector are
// passed over.
func (p *Publisher) catchUp(ctx context.Context, id string) (stored bool, err error) {
	for {
		msg, err := p.Stream.next(ctx, p.last+1)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if stored {
				return true, nil
			}
			last, err := p.Stream.last(ctx)
			if err != nil {
				return false, err
			}
			if last > p.last {
				continue // it came just now: whose is it?
			}
			p.last = last // what we knew may be gone: expired, or trimmed to make room
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read subject %s: %w", p.Subject, err)
		}
		by := msg.Header.Get(HeaderCollector)
		if by != "" && by != p.instance {
			return false, fmt.Errorf("%w: %s of cluster %s wrote message %d on %s; run one collector for each cluster, each on a subject of its own",
				ErrSuperseded, by, msg.Header.Get(headerCluster), msg.Sequence, p.Subject)
		}
		p.last = msg.Sequence
		stored = stored || msg.Header.Get(jetstream.MsgIDHeader) == id
	}
}

// save writes a checkpoint behind the last frame.
func (p *Publisher) save(ctx context.Context, c *Checkpoint) error {
	position := Position{
		Version: headVersion, Cluster: p.Cluster, Stream: p.Stream.Name, Created: p.Stream.Created, Sequence: p.last,
	}
	return p.retry(ctx, whatCheckpoint, func(ctx context.Context) error {
		err := p.Store.Save(ctx, c, position)
		if err == nil || errors.Is(err, ErrCheckpointLost) {
			return err
		}
		return cmp.Or(p.Store.gone(ctx), err)
	})
}

// What is written.
const (
	whatFrame      = "publish"
	whatCheckpoint = "checkpoint"
)

// retry calls do until it succeeds, or NATS refuses a frame for good. It says once what is wrong, and when it is over.
func (p *Publisher) retry(ctx context.Context, what string, do func(context.Context) error) error {
	wait := minBackoff
	for {
		err := do(ctx)
		switch {
		case err == nil:
			p.recovered()
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrSuperseded), errors.Is(err, ErrCheckpointLost):
			return err
		case errors.Is(err, errNotLast):
			continue
		case what == whatFrame && refusal(err) != "":
			return err
		}
		p.failed(what, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait = min(2*wait, maxBackoff)
	}
}

func (p *Publisher) failed(what string, err error) {
	p.metrics.failures.Inc()
	if p.failing == err.Error() {
		return
	}
	p.failing = err.Error()
	p.Log.Warn("cannot write to NATS; holding events back", "what", what, "subject", p.Subject, "error", explain(err))
}

func (p *Publisher) recovered() {
	if p.failing != "" {
		p.failing = ""
		p.Log.Info("writing to NATS again", "subject", p.Subject)
	}
}

// messageID tells a frame from all others, so that the stream stores it once. On a subject of its own it follows from the ids of the
// events. What senders make up may have equal ids, or none, and is not the same for that.
func (p *Publisher) messageID(batch []*eventv1.Event) string {
	if p.Shared {
		p.frames++
		return fmt.Sprintf("collect:%s:%d", p.instance, p.frames)
	}
	h := fnv.New64a()
	for _, e := range batch {
		_, _ = h.Write([]byte(e.Id))
		_, _ = h.Write([]byte{0})
	}
	return fmt.Sprintf("collect:%s:%016x", p.Cluster, h.Sum64())
}

// message packs events into a frame.
func (p *Publisher) message(batch []*eventv1.Event) (*nats.Msg, error) {
	body, err := EncodeFrame(batch)
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(p.Subject)
	msg.Data = body
	msg.Header.Set(jetstream.MsgIDHeader, p.messageID(batch))
	msg.Header.Set("Content-Type", event.ContentTypeFrame)
	msg.Header.Set(frame.HeaderEvents, strconv.Itoa(len(batch)))
	msg.Header.Set(HeaderCollector, p.instance)
	msg.Header.Set(headerCluster, p.Cluster)
	return msg, nil
}
