package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/stage"
)

// takeOver finds out where the lane stands: what is acknowledged, and what is stored of
// what comes after. Then it has the stages know what they knew. It tries until it succeeds,
// or a stage does not start.
func (l *lane) takeOver(ctx context.Context) error {
	for failures := 0; ; failures++ {
		err := l.tryTakeOver(ctx)
		if failed := (*startError)(nil); err == nil || errors.Is(err, errStopped) || errors.As(err, &failed) {
			return err
		}
		l.setProblem(err.Error())
		if failures == 0 || l.e.panics.Allow(l.e.now()) {
			l.log.Warn("the lane cannot be taken over yet", "lane", l.index, "problem", err)
		}
		select {
		case <-time.After(backoff.Wait(50*time.Millisecond, 2*time.Second, failures, l.e.jitter())):
		case <-l.e.reconnects(l):
		case <-l.stopping:
			return errStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *lane) tryTakeOver(ctx context.Context) error {
	if !l.e.conn.IsConnected() {
		return errors.New("not connected to NATS")
	}
	if l.edition == nil {
		l.edition = l.e.edition.Load()
	}
	before := slices.Clone(l.places)
	l.places = l.places[:0]
	floors := make([]uint64, len(l.inputs))
	for i, in := range l.inputs {
		state, err := in.bind(ctx)
		if err != nil {
			return err
		}
		in.mu.Lock()
		in.received, in.acked, in.hand = state.floor, state.floor, amount{}
		in.mu.Unlock()
		floors[i] = state.floor
		l.places = append(l.places, progress.Place{From: in.cfg.From, Stream: state.stream})
	}
	if !slices.Equal(before, l.places) {
		l.suspects.Forget()
	}
	if err := l.alignFloors(ctx, floors); err != nil {
		return err
	}
	// What the worker before has on its way may still arrive: then a publish of this one is
	// refused, and it looks again.
	l.tracks = l.tracks[:0]
	for _, o := range l.chain.NewOutlets() {
		t := &track{outlet: o}
		if err := l.loadWithin(ctx, t); err != nil {
			return err
		}
		l.tracks = append(l.tracks, t)
	}
	if err := l.learnDoubt(ctx); err != nil {
		return err
	}
	if err := l.listen(); err != nil {
		return err
	}
	l.closeInstances(ctx)
	if err := l.openInstances(ctx); err != nil {
		return err
	}
	stages, last := make([]stage.Stage, len(l.instances)), make([]uint64, len(floors))
	for i := range l.instances {
		stages[i] = l.instances[i].stage
	}
	for i, floor := range floors {
		last[i] = l.reached(i, floor)
	}
	l.chain.Open(stages, l.doubt, last)
	if err := l.rebuild(ctx, floors); err != nil {
		return err
	}
	return l.recall(ctx, floors)
}

// reached returns the sequence of the last message of an input, at or below floor, that led to a stored output. The
// floor itself may be a message of another lane, and what the clock makes stands behind the messages of this lane.
func (l *lane) reached(input int, floor uint64) (seq uint64) {
	for _, t := range l.tracks {
		if packed := t.outlet.Packed[input].Seq; packed <= floor {
			seq = max(seq, packed)
		}
	}
	return seq
}

// requestTimeout bounds one question to the server.
const requestTimeout = 2 * time.Second

func (l *lane) loadWithin(ctx context.Context, t *track) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.load(ctx, t)
}

// rebuild replays the input that the stages need to know what they knew: of several inputs together, in the order
// in which their messages were stored.
func (l *lane) rebuild(ctx context.Context, floors []uint64) error {
	horizon := l.chain.Horizon()
	if horizon <= 0 {
		return nil
	}
	began := l.e.now()
	ctx, cancel := context.WithCancel(ctx)
	var replays []*replay
	defer func() {
		cancel()
		for _, r := range replays {
			r.fetching.Wait()
		}
	}()
	for i, in := range l.inputs {
		r, err := l.newReplay(ctx, in, floors[i], horizon)
		if err != nil {
			return err
		}
		if r != nil {
			replays = append(replays, r)
		}
	}
	if len(replays) > 0 {
		l.setProblem("the state of lane " + strconv.Itoa(l.index) + " is being rebuilt")
	}
	events, marked, s := 0, l.chain.OnlyMarked(), newStep(len(l.e.nodes))
	for len(replays) > 0 {
		first := slices.MinFunc(replays, func(a, b *replay) int { return cmp.Compare(a.messages[0].stored, b.messages[0].stored) })
		s.reset()
		m := first.messages[0]
		s.add(m)
		if marked {
			s.Messages[0].Only = l.chain.Marks(&s.Messages[0], s.events)
		}
		if l.stopped() || !l.chain.Replay(ctx, &s.Step) {
			return errStopped
		}
		events += s.events
		more, err := first.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			replays = slices.DeleteFunc(replays, func(r *replay) bool { return r == first })
		}
	}
	if events > 0 {
		l.log.Info("state rebuilt", "lane", l.index, "events", events, "horizon", horizon, "took", l.e.now().Sub(began))
	}
	return nil
}

// replay is what an input received within the horizon of the stages, up to its message floor. Nothing that comes of
// it is stored. While the stages are at some messages, the next ones are fetched.
type replay struct {
	l     *lane
	in    *input
	floor uint64
	since time.Time
	fetched
	ahead    chan fetched
	fetching sync.WaitGroup
}

// fetched are some messages in a row; reached says that there are none up to the floor behind these.
type fetched struct {
	messages []*message
	reached  bool
	err      error
}

// newReplay reads the first messages; nil = there are none.
func (l *lane) newReplay(ctx context.Context, in *input, floor uint64, horizon time.Duration) (*replay, error) {
	if floor == 0 {
		return nil, nil
	}
	// The floor may be the message of another lane: while nothing is pending, the server moves it on to what it has
	// looked at. What is stored there, or next, tells the time.
	now := l.e.now()
	switch m, err := l.leader(ctx, in, map[string]any{"seq": floor, "next_by_subj": ">"}); {
	case err != nil:
		return nil, err
	case m.seq != 0:
		now = m.time
	}
	r := &replay{l: l, in: in, floor: floor, since: now.Add(-horizon), ahead: make(chan fetched, 1)}
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
	if after := f.messages[len(f.messages)-1].seq + 1; !f.reached {
		r.fetching.Go(func() { r.ahead <- r.fetch(ctx, map[string]any{"seq": after}) })
	}
	return true, nil
}

// fetch reads messages from where request says.
func (r *replay) fetch(ctx context.Context, request map[string]any) (f fetched) {
	request["batch"], request["max_bytes"], request["next_by_subj"] = replayBatch, replayBytes, r.in.filter
	if f.messages, f.reached, f.err = r.l.history(ctx, r.in, request, r.floor); f.err != nil {
		f.err = fmt.Errorf("rebuild the state from stream %s: %w", r.in.cfg.Stream, f.err)
		return f
	}
	if len(f.messages) > 0 || f.reached {
		return f
	}
	// A replica that is behind says the same as one that knows that there is nothing more.
	if after, ok := request["seq"]; ok {
		next, err := r.l.leader(ctx, r.in, map[string]any{"seq": after, "next_by_subj": r.in.filter})
		f.err = errors.Join(err, r.behind(next.seq != 0 && next.seq <= r.floor))
		return f
	}
	last, err := r.l.leader(ctx, r.in, map[string]any{"last_by_subj": r.in.filter})
	f.err = errors.Join(err, r.behind(last.seq != 0 && !last.time.Before(r.since)))
	return f
}

func (r *replay) behind(is bool) error {
	if !is {
		return nil
	}
	return fmt.Errorf("rebuild the state from stream %s: the replica that answered is behind", r.in.cfg.Stream)
}

// leader reads a message of an input from the leader of its stream.
func (l *lane) leader(ctx context.Context, in *input, request map[string]any) (storedMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return l.e.getMessage(ctx, in.cfg.Stream, request)
}

// What one request of a replay asks for.
const (
	replayBatch = 256
	replayBytes = 4 << 20
)

// history reads messages of an input up to sequence last. reached says that it saw last, or what is behind it.
func (l *lane) history(ctx context.Context, in *input, request map[string]any, last uint64) (messages []*message, reached bool, err error) {
	err = l.e.directGet(ctx, in.cfg.Stream, request, func(raw *nats.Msg) error {
		m, err := direct(in, raw)
		if err != nil {
			return err
		}
		if m.seq <= last {
			messages = append(messages, m)
		}
		reached = reached || m.seq >= last
		return nil
	})
	return messages, reached, err
}

// directGet yields a batch of stored messages of a stream (ADR-31).
func (e *Engine) directGet(ctx context.Context, stream string, request map[string]any, yield func(*nats.Msg) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	inbox := e.conn.NewInbox()
	sub, err := e.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // nothing is lost
	_ = sub.SetPendingLimits(-1, -1)
	api := e.domain.API("DIRECT.GET." + stream)
	if err := e.conn.PublishRequest(api, inbox, body); err != nil {
		return err
	}
	for {
		raw, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("%w: does the stream allow direct gets, and is %s allowed for this user?", err, api)
		}
		switch status := raw.Header.Get("Status"); status {
		case "":
			if err := yield(raw); err != nil {
				return err
			}
		case "204", "404":
			return nil
		default:
			return fmt.Errorf("%s %s (%s)", status, raw.Header.Get("Description"), api)
		}
	}
}

// direct makes a message of the answer to a direct get.
func direct(in *input, raw *nats.Msg) (*message, error) {
	seq, err := strconv.ParseUint(raw.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("answer without a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, raw.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return nil, fmt.Errorf("answer without a time: %w", err)
	}
	return &message{in: in, seq: seq, subject: raw.Header.Get("Nats-Subject"), header: raw.Header, data: raw.Data, size: raw.Size(), stored: at.UnixNano()}, nil
}
