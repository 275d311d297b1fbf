package view

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/controllers/internal/pause"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/cel"
)

// How a tap goes easy on the server.
const (
	// tapPoll is how often it asks for what is new.
	tapPoll = 200 * time.Millisecond
	// tapBytes is what one request asks for at most, in bytes of messages.
	tapBytes = 1 << 20
	// tapRate is how much a tap reads a second, in bytes of messages. What is more is left out while it follows, and takes its time before.
	tapRate = 32 << 20
	// tapBehind is how long a tap may be behind the newest message before it leaves messages out.
	tapBehind = 2 * time.Second
)

// errEnough ends a tap at its limit.
var errEnough = errors.New("enough events")

// Tap calls f with the events of one port, in the order of their partitions. It ends at the newest event, or with Follow when ctx ends, f
// fails, or the limit or the time of Until is reached.
func (v *View) Tap(ctx context.Context, of Name, o TapOptions, f func(*Stored) error) error {
	if o.Sample < 0 || o.Limit < 0 {
		return fmt.Errorf("sample is %d and limit %d: %w: want 0 or more", o.Sample, o.Limit, ErrInvalid)
	}
	filter, err := v.condition(o.Filter)
	if err != nil {
		return err
	}
	l, c, err := v.open(ctx, of)
	if err != nil {
		return err
	}
	port, err := l.Port(o.Stage, o.Port)
	if err != nil {
		return err
	}
	s, err := portStream(c, port)
	if err != nil {
		return err
	}
	t := &tap{options: o, port: port, stream: s, filter: filter, decoder: newDecoder(), now: v.now, f: f}
	if err := t.run(ctx); !errors.Is(err, errEnough) {
		return notFound(err)
	}
	return nil
}

// tap is one that runs.
type tap struct {
	options TapOptions
	port    *PortLayout
	stream  store.Stream
	filter  *cel.Condition
	decoder *decoder
	now     func() time.Time
	f       func(*Stored) error

	next    uint64 // the first stream sequence that is not read
	matched int
	given   int
	skipped uint64 // messages, not yet told of
}

func (t *tap) run(ctx context.Context) error {
	state, err := t.stream.State()
	if err != nil {
		return err
	}
	end := state.Last // of what is history
	if t.options.Since.IsZero() {
		t.next = end + 1
	} else {
		m, err := t.stream.Since(ctx, t.port.Subject, t.options.Since)
		if err != nil {
			return err
		}
		if t.next = end + 1; m != nil {
			t.next = m.Sequence
		}
	}
	for t.next <= end {
		if err := t.page(ctx, end); err != nil {
			return err
		}
	}
	for t.options.Follow {
		if err := pause.For(ctx, tapPoll); err != nil {
			return err
		}
		if until := t.options.Until; !until.IsZero() && t.now().After(until) {
			return nil
		}
		if err := t.follow(ctx); err != nil {
			return err
		}
	}
	return nil
}

// follow reads what is new, and leaves messages out where there are too many.
func (t *tap) follow(ctx context.Context) error {
	last, err := t.stream.Client.LastSequence(ctx, t.stream.Name)
	if err != nil {
		return err
	}
	if last+1 < t.next { // it was made anew
		t.next = 1
	}
	began := t.now()
	for t.next <= last {
		if err := t.page(ctx, last); err != nil {
			return err
		}
		if t.now().Sub(began) > tapBehind && t.next <= last {
			t.skipped += last + 1 - t.next
			t.next = last + 1
		}
	}
	return nil
}

// page reads one batch, up to the sequence end. It takes at least as long as the rate allows.
func (t *tap) page(ctx context.Context, end uint64) error {
	began, bytes := t.now(), 0
	first, last := t.next, t.next-1
	err := t.stream.Page(ctx, store.Range{Subject: t.port.Subject, From: t.next, To: end, Bytes: tapBytes}, func(m *store.Message) error {
		last = m.Sequence
		bytes += len(m.Data)
		if until := t.options.Until; !until.IsZero() && m.Stored.After(until) {
			return errEnough
		}
		return t.message(m)
	})
	if err != nil {
		return err
	}
	if t.next = last + 1; last < first {
		t.next = end + 1
	}
	return pause.For(ctx, time.Duration(bytes)*time.Second/tapRate-t.now().Sub(began))
}

// message gives the events of a message that are chosen.
func (t *tap) message(m *store.Message) error {
	return t.decoder.read(t.port, m, func(f found) error {
		if t.filter != nil {
			if f.event == nil {
				return nil
			}
			if holds, err := t.filter.Holds(f.event); err != nil || !holds {
				return nil //nolint:nilerr // an event of which the filter cannot be told is not chosen
			}
		}
		t.matched++
		if n := t.options.Sample; n > 1 && (t.matched-1)%n != 0 {
			return nil
		}
		s := t.port.stored(m, f)
		s.Skipped, t.skipped = t.skipped, 0
		if err := t.f(&s); err != nil {
			return err
		}
		t.given++
		if t.options.Limit > 0 && t.given >= t.options.Limit {
			return errEnough
		}
		return nil
	})
}
