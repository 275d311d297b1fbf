package lane

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/stage"
)

// takeOver finds out where the lane stands: what is acknowledged, and what is stored of
// what comes after. Then it has the stages know what they knew. It tries until it succeeds,
// or a stage does not start.
func (l *session) takeOver(ctx context.Context) error {
	for failures := 0; ; failures++ {
		err := l.tryTakeOver(ctx)
		if failed := (*StartError)(nil); err == nil || errors.Is(err, errStopped) || errors.As(err, &failed) {
			return err
		}
		l.setProblem(err.Error())
		if failures == 0 || l.w.panics.Allow(l.w.Now()) {
			l.log.Warn("the lane cannot be taken over yet", "lane", l.index, "problem", err)
		}
		select {
		case <-time.After(backoff.Wait(50*time.Millisecond, 2*time.Second, failures, l.w.Jitter())):
		case <-l.w.Reconnects():
		case <-l.stopping:
			return errStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *session) tryTakeOver(ctx context.Context) error {
	if !l.w.Conn.IsConnected() {
		return errors.New("not connected to NATS")
	}
	if l.edition == nil {
		l.edition = l.w.Edition.Load()
	}
	before := slices.Clone(l.places)
	l.places = l.places[:0]
	floors := make([]uint64, len(l.sources))
	for i, in := range l.sources {
		state, err := in.Bind(ctx)
		if err != nil {
			return err
		}
		in.Begin(state.Floor)
		floors[i] = state.Floor
		l.places = append(l.places, progress.Place{From: in.Config.From, Stream: state.Stream})
	}
	if !slices.Equal(before, l.places) {
		l.suspects.Forget()
	}
	l.again = nil
	if l.merger != nil {
		var err error
		if l.again, err = source.Align(ctx, l.sources, floors, l.whenStopped); err != nil {
			return err
		}
	}
	outlets := l.chain.NewOutlets()
	l.tracks = l.tracks[:0]
	for _, o := range outlets {
		l.tracks = append(l.tracks, &track.Track{
			Number: o.Number, Node: o.Node.Index, Port: o.Port.Number, Ports: o.Node.Ports.Names, Stream: o.Port.Out.Stream, Last: o.Pattern, Single: o.Port.Single(), Drop: o.Port.Out.OnFull == config.Drop,
			Blocked: l.w.Nodes[o.Node.Index].Metrics.Blocked,
		})
	}
	kept, err := l.openTarget(ctx, floors)
	if err != nil {
		return err
	}
	doubt, err := l.out.Open(ctx, l.tracks, l.places, l.w.Graph.Parents(), kept)
	if err != nil {
		return err
	}
	for i, o := range outlets {
		o.Packed, o.Reached = slices.Clone(l.tracks[i].Reach), l.tracks[i].Reach
	}
	l.beginOverflow(floors)
	l.teller = newTeller(l.w.Now, outlets, l.tracks)
	last := make([]uint64, len(floors))
	for i, floor := range floors {
		last[i] = reached(outlets, i, floor)
		if i < len(kept) && kept[i].Seq <= floor {
			last[i] = max(last[i], kept[i].Seq)
		}
	}
	known, err := l.open(ctx, doubt, floors, last)
	if err != nil {
		return err
	}
	if err := l.rebuild(ctx, floors, known); err != nil {
		return err
	}
	l.teller.wait(l.chain.Mark().Until)
	if known != nil { // what was recalled is part of a snapshot
		return nil
	}
	return l.recall(ctx, outlets, floors)
}

// open has new instances of the stages at work, with the state of the last snapshot if it can be used. known is up to where
// of each input they know all then; nil = they know nothing.
func (l *session) open(ctx context.Context, doubt *progress.Doubt, floors, last []uint64) (known []uint64, err error) {
	if err := l.openStages(ctx, doubt, last); err != nil {
		return nil, err
	}
	l.saver = l.newSaver(floors)
	known, err = l.saver.restore(ctx, floors)
	if err != nil {
		l.log.Warn("the snapshot of the state cannot be used: the input is replayed", "lane", l.index, "problem", err)
		return nil, l.openStages(ctx, doubt, last)
	}
	return known, nil
}

func (l *session) openStages(ctx context.Context, doubt *progress.Doubt, last []uint64) error {
	l.closeInstances(ctx)
	if err := l.openInstances(ctx); err != nil {
		return err
	}
	stages := make([]stage.Stage, len(l.instances))
	for i := range l.instances {
		stages[i] = l.instances[i].stage
	}
	l.chain.Open(stages, doubt, last)
	return nil
}

// reached returns the sequence of the last message of an input, at or below floor, that led to a stored output. The
// floor itself may be a message of another lane, and what the clock makes stands behind the messages of this lane.
func reached(outlets []*chain.Outlet, input int, floor uint64) (seq uint64) {
	for _, o := range outlets {
		if packed := o.Packed[input].Seq; packed <= floor {
			seq = max(seq, packed)
		}
	}
	return seq
}

// rebuild replays the input that the stages need to know what they knew: of several inputs together, in the order
// in which their messages were stored. known is up to where of each they know all already; nil = they know nothing.
func (l *session) rebuild(ctx context.Context, floors, known []uint64) error {
	horizon := l.chain.Horizon()
	if horizon <= 0 {
		return l.prime(ctx, func(i int) uint64 { return floors[i] })
	}
	began := l.w.Now()
	ctx, cancel := context.WithCancel(ctx)
	replay, err := source.NewReplay(ctx, l.sources, floors, known, horizon)
	defer func() {
		cancel()
		replay.Wait()
	}()
	if err != nil {
		return err
	}
	if !replay.Empty() {
		l.setProblem("the state of lane " + strconv.Itoa(l.index) + " is being rebuilt")
	}
	if err := l.prime(ctx, func(i int) uint64 {
		if first, some := replay.From(i); some {
			return first - 1
		}
		return floors[i]
	}); err != nil {
		return err
	}
	events, marked, s := 0, l.chain.OnlyMarked(), newStep(len(l.w.Nodes), nil)
	for {
		m, err := replay.Next(ctx)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		s.reset()
		s.add(m)
		if marked {
			s.Messages[0].Only = l.chain.Marks(&s.Messages[0], s.events)
		}
		if l.stopped() || !l.chain.Replay(ctx, &s.Step) {
			return errStopped
		}
		events += s.events
	}
	if events > 0 {
		l.log.Info("state rebuilt", "lane", l.index, "events", events, "horizon", horizon, "took", l.w.Now().Sub(began))
	}
	return nil
}
