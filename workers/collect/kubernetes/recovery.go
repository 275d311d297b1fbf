package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
)

// position is where a collector stands after a start.
type position struct {
	ledger  *ledger
	since   time.Time
	late    map[string]time.Time // as in the head
	last    uint64               // sequence of the last message on the subject
	stream  jetstream.Stream
	stored  string    // the subject that the stream stores the messages on
	created time.Time // of the stream
	// replayed is how many frames were read behind the checkpoint.
	replayed int
	fresh    bool // there was neither a checkpoint nor a frame
	// unlisted are the kinds that no start has listed.
	unlisted map[string]bool
	// upgraded is as in the observer.
	upgraded time.Time
}

// resume finds out where the collector stands, and waits for NATS to say so.
func (c *collector) resume(ctx context.Context) (*position, error) {
	const pause = time.Second
	said := false
	for {
		p, err := c.recover(ctx)
		if err == nil || !isAway(err) || ctx.Err() != nil {
			return p, err
		}
		if !said {
			said = true
			c.Log.Warn("waiting for NATS with JetStream", "error", explain(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// isAway tells whether an error means that NATS does not answer.
func isAway(err error) bool {
	for _, away := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionReconnecting,
		nats.ErrNoServers, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrStaleConnection,
		jetstream.ErrJetStreamNotEnabled, // what nats.go makes of ErrNoResponders, as when a leaf node is cut off
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}

// recover reads what was published: the checkpoint, and the frames behind it.
func (c *collector) recover(ctx context.Context) (*position, error) {
	kv, err := bucket(ctx, c.JetStream, c.Bucket)
	if err != nil {
		return nil, err
	}
	c.store = newStore(kv, c.Cluster)
	stream, err := c.findStream(ctx)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream of %s: %w", c.Subject, err)
	}
	l, h, found, err := c.store.load(ctx)
	if err != nil {
		return nil, err
	}
	p := &position{
		ledger: l, since: h.Since, late: h.Late, stream: stream, created: info.Created, fresh: !found, unlisted: map[string]bool{},
	}
	p.stored = c.Subject
	if t := info.Config.SubjectTransform; t != nil {
		p.stored = config.StoredSubject(t.Destination, c.Subject)
	}
	from := info.State.FirstSeq
	if found && h.Stream == info.Config.Name && h.Created.Equal(info.Created) {
		from = max(from, h.Sequence+1)
	}
	if !found {
		p.since = c.Now().Add(-c.History)
	}
	if p.late == nil {
		p.late = map[string]time.Time{}
	}
	if found && h.Kinds == nil {
		h.Kinds, p.upgraded = firstKinds, c.Now().Add(-c.History)
	}
	for _, kind := range kinds {
		if found && !slices.Contains(h.Kinds, kind) {
			p.late[kind] = time.Time{} // an earlier release did not watch it
		}
		since, late := p.late[kind]
		if !found || late && since.IsZero() {
			p.unlisted[kind] = true
		}
	}
	return p, c.replay(ctx, p, max(from, 1))
}

// replay takes the frames from a sequence on into the ledger.
func (c *collector) replay(ctx context.Context, p *position, from uint64) error {
	for {
		msg, err := p.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(p.stored))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			last, err := lastOn(ctx, p.stream, p.stored)
			if err != nil {
				return err
			}
			if last >= from {
				continue // it came just now
			}
			p.last = max(p.last, last)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read subject %s: %w", c.Subject, err)
		}
		p.last, from = msg.Sequence, msg.Sequence+1
		if msg.Header.Get(headerCollector) == "" {
			continue // not a collector's: somebody published by hand
		}
		events, err := decodeFrame(msg.Header, msg.Data)
		if err != nil {
			return fmt.Errorf("message %d on %s: %w", msg.Sequence, c.Subject, err)
		}
		for i := range events {
			p.ledger.apply(&events[i])
		}
		p.replayed++
		p.fresh = false
	}
}

// findStream finds the stream that stores the subject, and waits for it.
func (c *collector) findStream(ctx context.Context) (jetstream.Stream, error) {
	const pause = time.Second
	said := false
	for {
		name, err := c.JetStream.StreamNameBySubject(ctx, c.Subject)
		if err == nil {
			return c.JetStream.Stream(ctx, name)
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("stream of %s: %w", c.Subject, err)
		}
		if !said {
			said = true
			c.Log.Warn("waiting for a stream that stores the subject: apply a Pipeline whose ingress covers it", "subject", c.Subject, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
