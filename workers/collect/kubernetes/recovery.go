package kubernetes

import (
	"context"
	"slices"
	"time"

	"millrace.dev/millrace/workers/collect"
	"millrace.dev/millrace/workers/event"
)

// position is where a collector stands after a start.
type position struct {
	ledger *ledger
	since  time.Time
	late   map[string]time.Time // as in the head
	last   uint64               // sequence of the last message on the subject
	stream *collect.Stream
	// replayed is how many frames were read behind the checkpoint.
	replayed int
	fresh    bool // there was neither a checkpoint nor a frame
	// unlisted are the kinds that no start has listed.
	unlisted map[string]bool
	// upgraded is as in the observer.
	upgraded time.Time
}

// resume finds out where the collector stands, and waits for NATS to say so.
func (c *collector) resume(ctx context.Context) (p *position, err error) {
	err = collect.WaitForNATS(ctx, c.Log, func(ctx context.Context) error {
		p, err = c.recover(ctx)
		return err
	})
	return p, err
}

// recover reads what was published: the checkpoint, and the frames behind it.
func (c *collector) recover(ctx context.Context) (*position, error) {
	kv, err := collect.OpenBucket(ctx, c.JetStream, c.Bucket)
	if err != nil {
		return nil, err
	}
	c.store = collect.NewStore(kv, c.Cluster)
	stream, err := collect.FindStream(ctx, c.JetStream, c.Subject, c.Log)
	if err != nil {
		return nil, err
	}
	saved, found, err := c.store.Load(ctx)
	if err != nil {
		return nil, err
	}
	l, h := newLedger(), head{Since: c.Now().Add(-c.History)}
	if found {
		if l, h, err = readCheckpoint(saved); err != nil {
			return nil, err
		}
	}
	p := &position{ledger: l, since: h.Since, late: h.Late, stream: stream, fresh: !found, unlisted: map[string]bool{}}
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
	p.last, p.replayed, err = stream.Replay(ctx, h.After(stream), func(events []event.Event) {
		for i := range events {
			l.apply(&events[i])
		}
	})
	p.fresh = p.fresh && p.replayed == 0
	return p, err
}
