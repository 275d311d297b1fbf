package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// What one request asks for at most.
const (
	batch    = 512
	maxBytes = 4 << 20
)

// Message is a stored message.
type Message = jetstream.Message

// ErrStop ends a scan without an error.
var ErrStop = jetstream.ErrStop

// Stream is one stream. Its methods may be called at the same time.
type Stream struct {
	Client *jetstream.Client
	Name   string
}

// State is the first and the last stream sequence, and how many messages and bytes there are.
type State struct {
	First, Last, Messages, Bytes uint64
	FirstTime, LastTime          time.Time
}

// State asks for the state of the stream; jetstream.ErrNotFound when there is none.
func (s Stream) State() (State, error) {
	have, err := s.Client.Stream(s.Name)
	if err != nil {
		return State{}, err
	}
	st := have.State
	return State{First: st.FirstSeq, Last: st.LastSeq, Messages: st.Msgs, Bytes: st.Bytes, FirstTime: st.FirstTime, LastTime: st.LastTime}, nil
}

// Range chooses messages. Zero members do not bound.
type Range struct {
	// Subject is a pattern.
	Subject string
	// From and To are the first and last stream sequence.
	From, To uint64
	// Since and Until are times at which messages were stored.
	Since, Until time.Time
	// Bytes and Batch are what one request asks for at most; 0 = 4 MiB, and 512 messages.
	Bytes, Batch int
}

// Scan yields messages in stream order, until there are no more, or yield fails. ErrStop of yield is no error.
func (s Stream) Scan(ctx context.Context, r Range, yield func(*Message) error) error {
	return s.Client.Scan(ctx, s.Name, r.direct(), r.within(yield))
}

// Page yields the messages of one request: the first ones that Scan would yield.
func (s Stream) Page(ctx context.Context, r Range, yield func(*Message) error) error {
	_, err := s.Client.Direct(ctx, s.Name, r.direct(), r.within(yield))
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// direct is the request for the first messages.
func (r *Range) direct() jetstream.Direct {
	get := jetstream.Direct{Seq: r.From, Subject: r.Subject, Batch: cmp.Or(r.Batch, batch), MaxBytes: cmp.Or(r.Bytes, maxBytes)}
	if r.From == 0 {
		if get.Seq = 1; !r.Since.IsZero() {
			get.Seq, get.Since = 0, &r.Since
		}
	}
	return get
}

// within yields messages up to the end of the range.
func (r *Range) within(yield func(*Message) error) func(*Message) error {
	return func(m *Message) error {
		if r.To > 0 && m.Sequence > r.To || !r.Until.IsZero() && m.Stored.After(r.Until) {
			return ErrStop
		}
		if err := yield(m); err != nil || r.To == 0 || m.Sequence < r.To {
			return err
		}
		return ErrStop
	}
}

// At reads the first message at or behind a sequence on a subject; nil when there is none.
func (s Stream) At(ctx context.Context, subject string, seq uint64) (*Message, error) {
	return s.Client.First(ctx, s.Name, subject, seq)
}

// Since reads the first message on a subject that was stored at or after a time; nil when there is none.
func (s Stream) Since(ctx context.Context, subject string, at time.Time) (found *Message, err error) {
	_, err = s.Client.Direct(ctx, s.Name, jetstream.Direct{Since: &at, Subject: subject, Batch: 1}, func(m *Message) error {
		found = m
		return nil
	})
	return found, err
}

// Get reads one message by its sequence; nil when the stream does not hold it.
func (s Stream) Get(ctx context.Context, seq uint64) (*Message, error) {
	return s.Client.Get(ctx, s.Name, seq)
}

// Search finds the first message on a subject, at or behind the sequence from and not behind to, for which reached holds. Of
// messages in their order it holds for none, and then for all. It reads a number of messages that grows with the logarithm of the
// distance: what is looked for is mostly near to from. nil = there is none.
func (s Stream) Search(ctx context.Context, subject string, from, to uint64, reached func(*Message) bool) (*Message, error) {
	var found *Message
	low, high := from, to+1 // it is at low or behind, and found is at high or behind
	for step := uint64(8); low < high; step *= 8 {
		m, err := s.At(ctx, subject, low)
		if err != nil || m == nil || m.Sequence >= high {
			return found, err
		}
		if reached(m) {
			return m, nil
		}
		low = m.Sequence + 1
		probe := low + step
		if probe >= high {
			break
		}
		if m, err = s.At(ctx, subject, probe); err != nil {
			return nil, err
		}
		if m == nil || m.Sequence >= high {
			high = probe
			break
		}
		if reached(m) {
			found, high = m, probe
			break
		}
		low = m.Sequence + 1
	}
	for low < high {
		middle := low + (high-low)/2
		m, err := s.At(ctx, subject, middle)
		switch {
		case err != nil:
			return nil, err
		case m == nil || m.Sequence > to:
			high = middle
		case reached(m):
			found, high = m, middle
		default:
			low = m.Sequence + 1
		}
	}
	return found, nil
}

// Backward yields messages newest first. It reads the stream in windows of some stream sequences, of which it holds windowBytes at most, and one message.
func (s Stream) Backward(ctx context.Context, r Range, yield func(*Message) error) error {
	state, err := s.State()
	if err != nil {
		return err
	}
	to := state.Last
	if r.To > 0 {
		to = min(to, r.To)
	}
	from := max(state.First, r.From, 1)
	for window := uint64(firstWindow); to >= from; {
		low := from
		if to-from >= window {
			low = to - window + 1
		}
		all, cut, err := s.newest(ctx, Range{Subject: r.Subject, From: low, To: to, Until: r.Until, Bytes: r.Bytes})
		if err != nil {
			return err
		}
		window = min(window*2, lastWindow)
		if cut { // what is before these is read again: the next window is no longer than this one
			low = all[0].Sequence
			window = min(window, to-low+1)
		}
		for _, m := range slices.Backward(all) {
			if !r.Since.IsZero() && m.Stored.Before(r.Since) {
				return nil
			}
			switch err := yield(m); {
			case errors.Is(err, ErrStop):
				return nil
			case err != nil:
				return err
			}
		}
		if low == from {
			return nil
		}
		to = low - 1
	}
	return nil
}

// newest are the last messages of a range, in stream order. cut says that there are more.
func (s Stream) newest(ctx context.Context, r Range) (all []*Message, cut bool, err error) {
	held := 0
	err = s.Scan(ctx, r, func(m *Message) error {
		all = append(all, m)
		for held += size(m); held > windowBytes && len(all) > 1; cut = true {
			held -= size(all[0])
			all[0], all = nil, all[1:]
		}
		return nil
	})
	return all, cut, err
}

// size is about how many bytes a message takes in memory.
func size(m *Message) int {
	n := len(m.Subject) + len(m.Data)
	for key, values := range m.Header {
		n += len(key)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}

// A window of Backward, in stream sequences and in bytes: it is held in memory.
const (
	firstWindow = 64
	lastWindow  = 1024
	windowBytes = 4 << 20
)
