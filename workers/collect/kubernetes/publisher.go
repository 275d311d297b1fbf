package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// Headers of a collector's frame, besides those of every frame.
const (
	headerCollector = "Millrace-Collector" // the instance that published it
	headerCluster   = "Millrace-Cluster"
)

// ErrSuperseded ends a collector when another one publishes on its subject.
var ErrSuperseded = errors.New("another collector publishes on this subject")

const (
	maxFrameEvents = 512
	maxFrameBytes  = 128 << 10
	frameLinger    = 10 * time.Millisecond
	publishTimeout = 5 * time.Second // of an attempt to publish a frame
	minBackoff     = 100 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// publisher writes frames behind each other on one subject, and checkpoints behind frames.
type publisher struct {
	js       jetstream.JetStream
	stream   jetstream.Stream
	subject  string
	stored   string // the subject that the stream stores the messages on
	cluster  string
	instance string
	store    *store
	created  time.Time // of the stream
	log      *slog.Logger
	metrics  *metrics
	// last is the sequence of the last message on the subject that we know of.
	last uint64
	// failing is the last error that was logged, so that each is logged once.
	failing string
}

// run publishes what in delivers until it is closed, or ctx ends.
func (p *publisher) run(ctx context.Context, in <-chan item) error {
	for {
		batch, check, open, err := p.gather(ctx, in)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			if err := p.publish(ctx, batch); err != nil {
				return err
			}
		}
		if check != nil {
			if err := p.save(ctx, check); err != nil {
				return err
			}
		}
		if !open {
			return nil
		}
	}
}

// gather collects what is for one frame: until it is full, nothing has come for a while, or a
// checkpoint is due behind it.
func (p *publisher) gather(ctx context.Context, in <-chan item) (batch []item, check *checkpoint, open bool, err error) {
	var linger <-chan time.Time
	events, size := 0, 0
	for events < maxFrameEvents && size < maxFrameBytes {
		select {
		case i, ok := <-in:
			if !ok || i.checkpoint != nil {
				return batch, i.checkpoint, ok, nil
			}
			batch = append(batch, i)
			events += len(i.events)
			for _, e := range i.events {
				size += proto.Size(e)
			}
			if linger == nil {
				linger = time.After(frameLinger)
			}
		case <-linger:
			return batch, nil, true, nil
		case <-ctx.Done():
			return nil, nil, false, context.Cause(ctx)
		}
	}
	return batch, nil, true, nil
}

// publish stores one frame, however long that takes. It returns an error only when ctx ends
// or another collector took over. What NATS will never take is published without the item that
// is to blame for it, which is dropped.
func (p *publisher) publish(ctx context.Context, batch []item) error {
	var events []*eventv1.Event
	for _, i := range batch {
		events = append(events, i.events...)
	}
	err := p.publishFrame(ctx, events)
	reason := refusal(err)
	switch {
	case reason == "":
		return err
	case len(batch) == 1:
		p.metrics.dropped.WithLabelValues(reason).Add(float64(len(events)))
		p.log.Error("NATS takes no such event; dropped", "id", events[0].Id, "type", events[0].Type, "events", len(events), "error", err)
		return nil
	}
	half := len(batch) / 2
	if err := p.publish(ctx, batch[:half]); err != nil {
		return err
	}
	return p.publish(ctx, batch[half:])
}

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

func (p *publisher) publishFrame(ctx context.Context, events []*eventv1.Event) error {
	msg, err := p.message(events)
	if err != nil {
		return err
	}
	return p.retry(ctx, whatFrame, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		ack, err := p.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(p.last))
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
func (p *publisher) catchUp(ctx context.Context, id string) (stored bool, err error) {
	for {
		msg, err := p.stream.GetMsg(ctx, p.last+1, jetstream.WithGetMsgSubject(p.stored))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if stored {
				return true, nil
			}
			last, err := lastOn(ctx, p.stream, p.stored)
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
			return false, fmt.Errorf("read subject %s: %w", p.subject, err)
		}
		by := msg.Header.Get(headerCollector)
		if by != "" && by != p.instance {
			return false, fmt.Errorf("%w: %s of cluster %s wrote message %d on %s; run one collector for each cluster, each on a subject of its own",
				ErrSuperseded, by, msg.Header.Get(headerCluster), msg.Sequence, p.subject)
		}
		p.last = msg.Sequence
		stored = stored || msg.Header.Get(jetstream.MsgIDHeader) == id
	}
}

// lastOn is the sequence of the last message on a subject; 0 = there is none.
func lastOn(ctx context.Context, stream jetstream.Stream, subject string) (uint64, error) {
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read subject %s: %w", subject, err)
	}
	return msg.Sequence, nil
}

// save writes a checkpoint behind the last frame.
func (p *publisher) save(ctx context.Context, c *checkpoint) error {
	h := head{
		Version: headVersion, Cluster: p.cluster, Stream: p.stream.CachedInfo().Config.Name, Created: p.created,
		Sequence: p.last, Since: c.since, Late: c.late, Kinds: kinds,
	}
	return p.retry(ctx, whatCheckpoint, func(ctx context.Context) error {
		err := p.store.save(ctx, c, h)
		if err == nil || errors.Is(err, ErrCheckpointLost) {
			return err
		}
		return cmp.Or(p.store.gone(ctx), err)
	})
}

// What is written.
const (
	whatFrame      = "publish"
	whatCheckpoint = "checkpoint"
)

// retry calls do until it succeeds, or NATS refuses a frame for good. It says once what is wrong, and when it is over.
func (p *publisher) retry(ctx context.Context, what string, do func(context.Context) error) error {
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

func (p *publisher) failed(what string, err error) {
	p.metrics.failures.Inc()
	if p.failing == err.Error() {
		return
	}
	p.failing = err.Error()
	p.log.Warn("cannot write to NATS; holding events back", "what", what, "subject", p.subject, "error", explain(err))
}

func (p *publisher) recovered() {
	if p.failing != "" {
		p.failing = ""
		p.log.Info("writing to NATS again", "subject", p.subject)
	}
}

// message packs events into a frame. Its id follows from the events.
func (p *publisher) message(batch []*eventv1.Event) (*nats.Msg, error) {
	body, err := encodeFrame(batch)
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	for _, e := range batch {
		_, _ = h.Write([]byte(e.Id))
		_, _ = h.Write([]byte{0})
	}
	msg := nats.NewMsg(p.subject)
	msg.Data = body
	msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("collect:%s:%016x", p.cluster, h.Sum64()))
	msg.Header.Set("Content-Type", event.ContentTypeFrame)
	msg.Header.Set(frame.HeaderEvents, strconv.Itoa(len(batch)))
	msg.Header.Set(headerCollector, p.instance)
	msg.Header.Set(headerCluster, p.cluster)
	return msg, nil
}
