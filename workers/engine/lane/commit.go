package lane

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/stage"
)

// commit stores what came out of s, then acknowledges its messages. It tries for ever: a full
// stream or a lost connection delays. The error says that the lane is lost, or that somebody
// else has written; or it is that of ctx.
func (l *session) commit(ctx context.Context, s *step) error {
	s.trace.Begin(ctx, &s.Step)
	err := l.store(ctx, s)
	s.trace.End(err)
	if err != nil {
		return err
	}
	now := l.w.Now().UnixNano()
	for i, n := range l.w.Nodes {
		n.Stats.Commit(&s.Step, i, now)
		l.warnLate(n, s.Tallies[i].Late)
	}
	if err := l.stillOurs(ctx); err != nil { // it may have been stopped since it has stored
		return err
	}
	l.storedAside(s)
	l.acknowledge(s)
	l.teller.stored(&s.Step)
	l.saver.committed(s)
	s.append.Forget()
	l.working.Add(-1)
	l.free <- s
	return nil
}

// warnDropped logs events that are left out, once a minute at most.
func (l *session) warnDropped(t *track.Track, events int) {
	if l.w.dropped.Allow(l.w.Now()) {
		l.log.Warn("events are left out on a port with onFull: Drop, whose stream is full", "stage", l.w.Nodes[t.Node].Config.Stage, "port", t.Ports[t.Port],
			"stream", t.Stream, "events", events)
	}
}

// warnLate logs events that came too late, once a minute at most.
func (l *session) warnLate(n *Node, late int64) {
	if late == 0 || !l.w.late.Allow(l.w.Now()) {
		return
	}
	l.log.Warn("events came too late and are left out of what the stage closes by event time", "stage", n.Config.Stage, "events", late,
		"since_start", n.Stats.Snapshot().Late)
}

// stillOurs is errLost when the lane is another worker's, as far as this one can know. While it cannot read the leases
// it goes on.
func (l *session) stillOurs(ctx context.Context) error {
	if !l.w.fresh() {
		if owns, err := l.w.owns(ctx, l.index); err == nil && !owns {
			return fmt.Errorf("%w: found out before an acknowledgement", errLost)
		}
	}
	if l.isLost() { // a fresh look has told, and the context may not have ended yet
		return errLost
	}
	return nil
}

// acknowledge acknowledges the last message of each input.
func (l *session) acknowledge(s *step) {
	for i, in := range l.sources {
		var last *source.Message
		var done source.Amount
		for _, m := range s.messages {
			if m.Input.Index == i {
				last = m
				done.Messages++
				done.Bytes += m.Size
			}
		}
		if last != nil {
			in.Ack(last, done)
		}
	}
}

// store has the outputs of s stored.
func (l *session) store(ctx context.Context, s *step) error {
	s.append.Reset(s.done)
	l.teller.add(l.chain, s)
	aside := l.takeAside(s)
	if err := l.append(ctx, s); err != nil {
		return err
	}
	if len(aside) > 0 {
		s.append.More()
		s.Pending = aside
		if err := l.append(ctx, s); err != nil {
			return err
		}
	}
	if s.sink == nil {
		return nil
	}
	return l.keep(ctx, s)
}

// append has what is pending of s stored on its tracks.
func (l *session) append(ctx context.Context, s *step) error {
	for _, p := range s.Pending {
		records := s.append.Add(l.tracks[p.Outlet.Number], len(p.Outputs))
		for i, o := range p.Outputs {
			records[i] = track.Record{Events: o.Events, Items: &o.Items, Reach: o.Reach}
		}
	}
	err := l.out.Store(ctx, &s.append, func(i int, records []track.Record) {
		p := s.Pending[i]
		for k, o := range p.Outputs {
			r := &records[k]
			if o.IsFrame() {
				r.Buffer = l.w.buffer()
				*r.Buffer = l.chain.Encode(o, (*r.Buffer)[:0])
			}
			l.teller.sign(p, s.Mark, k)
			r.Message = nats.Msg{Subject: o.Subject, Header: o.Header, Data: o.Data}
		}
		s.trace.Inject(p.Outlet, records)
	})
	if err != nil {
		return err
	}
	for t, events := range s.append.Dropped {
		if events == 0 {
			l.teller.unsaid(t.Number)
			continue
		}
		s.Tallies[t.Node].Drop(t.Ports[t.Port], int64(events))
		l.warnDropped(t, events)
	}
	return nil
}

// keep has the rows of s kept, when all else of s is stored.
func (l *session) keep(ctx context.Context, s *step) error {
	for {
		rows := make([]any, len(s.Rows))
		for i, r := range s.Rows {
			rows[i] = r.Value
		}
		err := l.target.Store(ctx, s.sink, rows, s.reach)
		refused := (*stage.Refused)(nil)
		if !errors.As(err, &refused) {
			return err
		}
		s.append.More()
		s.Pending = append(s.Pending[:0], l.chain.Refuse(&s.Step, refused.Rows, s.reach))
		if err := l.append(ctx, s); err != nil {
			return err
		}
	}
}
