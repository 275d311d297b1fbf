package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/stored"
)

// Replay is what several inputs received within a time, together, in the order in which their messages were stored.
type Replay struct {
	replays []*replay
	first   *replay // the one whose first message was returned last
}

// NewReplay reads the first messages of what the inputs received within the horizon before their floors, or behind the sequences
// from which they are known, if that is not nil. Whether it succeeds or not: end ctx and call Wait.
func NewReplay(ctx context.Context, inputs []*Input, floors, known []uint64, horizon time.Duration) (*Replay, error) {
	all := &Replay{}
	for i, in := range inputs {
		var from uint64
		if known != nil {
			from = known[i]
		}
		r, err := in.newReplay(ctx, floors[i], from, horizon)
		if err != nil {
			return all, err
		}
		if r != nil {
			all.replays = append(all.replays, r)
		}
	}
	return all, nil
}

// From is the sequence of the first message of an input, if it has some.
func (a *Replay) From(input int) (seq uint64, some bool) {
	for _, r := range a.replays {
		if r.in.Index == input {
			return r.messages[0].Sequence, true
		}
	}
	return 0, false
}

// Empty says that there are no messages.
func (a *Replay) Empty() bool { return len(a.replays) == 0 }

// Next returns the next message; nil when there are no more. ctx is that of NewReplay.
func (a *Replay) Next(ctx context.Context) (*Message, error) {
	if a.first != nil {
		more, err := a.first.next(ctx)
		if err != nil {
			return nil, err
		}
		if !more {
			a.replays = slices.DeleteFunc(a.replays, func(r *replay) bool { return r == a.first })
		}
		a.first = nil
	}
	if len(a.replays) == 0 {
		return nil, nil
	}
	a.first = slices.MinFunc(a.replays, func(a, b *replay) int { return cmp.Compare(a.messages[0].Stored, b.messages[0].Stored) })
	return a.first.messages[0], nil
}

// Wait waits until nothing is being read any more.
func (a *Replay) Wait() {
	for _, r := range a.replays {
		r.fetching.Wait()
	}
}

// replay is what an input received within the horizon of the stages, up to its message floor. Nothing that comes of
// it is stored. While the stages are at some messages, the next ones are fetched.
type replay struct {
	in    *Input
	floor uint64
	since time.Time
	fetched
	ahead    chan fetched
	fetching sync.WaitGroup
}

// fetched are some messages in a row; reached says that there are none up to the floor behind these.
type fetched struct {
	messages []*Message
	reached  bool
	err      error
}

// TimeOf is when the message with a sequence was stored, or the next one in the stream; zero when there is none.
func (in *Input) TimeOf(ctx context.Context, sequence uint64) (time.Time, error) {
	m, err := in.leader(ctx, map[string]any{"seq": sequence, "next_by_subj": ">"})
	return m.Time, err
}

// newReplay reads the first messages; nil = there are none. It begins behind known where that is not 0.
func (in *Input) newReplay(ctx context.Context, floor, known uint64, horizon time.Duration) (*replay, error) {
	if floor <= known {
		return nil, nil
	}
	if known > 0 {
		r := &replay{in: in, floor: floor, ahead: make(chan fetched, 1)}
		if more, err := r.take(ctx, r.fetch(ctx, map[string]any{"seq": known + 1})); !more {
			return nil, err
		}
		return r, nil
	}
	// The floor may be the message of another lane: while nothing is pending, the server moves it on to what it has
	// looked at. What is stored there, or next, tells the time.
	now := in.clock()
	switch at, err := in.TimeOf(ctx, floor); {
	case err != nil:
		return nil, err
	case !at.IsZero():
		now = at
	}
	r := &replay{in: in, floor: floor, since: now.Add(-horizon), ahead: make(chan fetched, 1)}
	if start := in.Config.Start; start.After(r.since) { // the floor of a consumer that begins at a time is behind older messages
		r.since = start
	}
	if more, err := r.take(ctx, r.fetch(ctx, map[string]any{"start_time": r.since})); !more {
		return nil, err
	}
	return r, nil
}

// next goes on to the next message, and says whether there is one.
func (r *replay) next(ctx context.Context) (bool, error) {
	r.messages = r.messages[1:]
	if len(r.messages) > 0 || r.reached {
		return len(r.messages) > 0, nil
	}
	return r.take(ctx, <-r.ahead)
}

// take goes on to what was fetched, says whether there is something, and has the next messages fetched.
func (r *replay) take(ctx context.Context, f fetched) (more bool, err error) {
	if r.fetched = f; f.err != nil || len(f.messages) == 0 {
		return false, f.err
	}
	if after := f.messages[len(f.messages)-1].Sequence + 1; !f.reached {
		r.fetching.Go(func() { r.ahead <- r.fetch(ctx, map[string]any{"seq": after}) })
	}
	return true, nil
}

// fetch reads messages from where request says.
func (r *replay) fetch(ctx context.Context, request map[string]any) (f fetched) {
	request["batch"], request["max_bytes"], request["next_by_subj"] = stored.Batch, stored.Bytes, r.in.filter
	if f.messages, f.reached, f.err = r.in.history(ctx, request, r.floor); f.err != nil {
		f.err = fmt.Errorf("rebuild the state from stream %s: %w", r.in.Config.Stream, f.err)
		return f
	}
	if len(f.messages) > 0 || f.reached {
		return f
	}
	// A replica that is behind says the same as one that knows that there is nothing more.
	if after, ok := request["seq"]; ok {
		next, err := r.in.leader(ctx, map[string]any{"seq": after, "next_by_subj": r.in.filter})
		f.err = errors.Join(err, r.behind(next.Sequence != 0 && next.Sequence <= r.floor))
		return f
	}
	last, err := r.in.leader(ctx, map[string]any{"last_by_subj": r.in.filter})
	f.err = errors.Join(err, r.behind(last.Sequence != 0 && !last.Time.Before(r.since)))
	return f
}

func (r *replay) behind(is bool) error {
	if !is {
		return nil
	}
	return fmt.Errorf("rebuild the state from stream %s: the replica that answered is behind", r.in.Config.Stream)
}

// leader reads a message of an input from the leader of its stream.
func (in *Input) leader(ctx context.Context, request map[string]any) (stored.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return in.stored.Get(ctx, in.Config.Stream, request)
}

// history reads messages of an input up to sequence last. reached says that it saw last, or what is behind it.
func (in *Input) history(ctx context.Context, request map[string]any, last uint64) (messages []*Message, reached bool, err error) {
	err = in.stored.Direct(ctx, in.Config.Stream, request, func(raw *nats.Msg) error {
		seq, at, err := stored.Place(raw)
		if err != nil {
			return err
		}
		if seq <= last {
			messages = append(messages, &Message{
				Input: in, Sequence: seq, Subject: raw.Header.Get("Nats-Subject"), Header: raw.Header, Data: raw.Data, Size: raw.Size(), Stored: at.UnixNano(), Time: in.timeOf(at),
			})
		}
		reached = reached || seq >= last
		return nil
	})
	return messages, reached, err
}
