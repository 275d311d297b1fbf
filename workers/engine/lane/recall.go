package lane

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/stored"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// The insights of a lane are asked for recallAttempts times, each request for recallTimeout. A user with the rights of an older
// release may never read them: the lane goes on then as if there were none.
const (
	recallAttempts = 3
	recallTimeout  = 3 * time.Second
)

// recall hands the stages the insights that people were told of by the lane: what is open may have begun before the
// horizon.
func (l *session) recall(ctx context.Context, outlets []*chain.Outlet, floors []uint64) error {
	for i, n := range l.w.Nodes {
		r, ok := l.instances[i].stage.(stage.Recaller)
		if !ok {
			continue
		}
		var told []*eventv1.Event
		for _, o := range outlets {
			t := l.tracks[o.Number]
			if o.Node != n.Node || o.Port.Name != config.PortInsights || t.Fence == 0 {
				continue
			}
			events, err := l.toldOn(ctx, t, r.Remembers(), floors)
			for attempt := 1; err != nil && attempt < recallAttempts && !l.stopped() && ctx.Err() == nil; attempt++ {
				events, err = l.toldOn(ctx, t, r.Remembers(), floors)
			}
			switch {
			case l.stopped() || ctx.Err() != nil:
				return errStopped
			case err != nil:
				l.log.Warn("the insights of the lane cannot be read: those that are open may stay open or be told under another id", "stage", n.Config.Stage, "lane", l.index, "problem", err)
			default:
				told = append(told, events...)
			}
		}
		r.Recall(told, l.decidedUntil(outlets))
	}
	return nil
}

// toldOn returns the last revision of each insight on a track, in the order of their first ones. One that began beyond
// what is acknowledged is left out: the stage will make it again.
func (l *session) toldOn(ctx context.Context, t *track.Track, remembers time.Duration, floors []uint64) (told []*eventv1.Event, err error) {
	index := map[string]int{} // into told; doubtful ones have -1
	decoder := decode.New(decode.Limits{})
	take := func(raw *nats.Msg) {
		decoder.Reset()
		events, _ := decoder.Decode(nil, decode.Message{Header: raw.Header, Data: raw.Data})
		for i := range events {
			e, err := events[i].ToProto()
			if err != nil {
				continue
			}
			at, known := index[e.GetId()]
			switch {
			case !known && l.doubtful(raw, floors):
				index[e.GetId()] = -1
			case !known:
				index[e.GetId()] = len(told)
				told = append(told, e)
			case at >= 0 && !l.doubtful(raw, floors): // what is beyond is made again, too
				told[at] = e
			}
		}
	}
	request := map[string]any{"start_time": t.Written.Add(-remembers)} // one that nobody has revised for longer was over when the last was told
	for {
		request["batch"], request["max_bytes"], request["next_by_subj"] = stored.Batch, stored.Bytes, t.Last
		var last uint64
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, recallTimeout)
			defer cancel()
			return l.w.stored.Direct(ctx, t.Stream, request, func(raw *nats.Msg) error {
				seq, _, err := stored.Place(raw)
				if err == nil {
					last = seq
					take(raw)
				}
				return err
			})
		}()
		switch {
		case err != nil:
			return nil, err
		case last >= t.Fence:
			return told, nil
		case last == 0:
			return nil, fmt.Errorf("the replica of stream %s that answered is behind", t.Stream)
		}
		request = map[string]any{"seq": last + 1}
	}
}

// doubtful says whether an output lies beyond what is acknowledged of some input: its step is decided again.
func (l *session) doubtful(output *nats.Msg, floors []uint64) bool {
	for i, p := range progress.ParseReach(output.Header.Get(track.HeaderPosition), l.places) {
		if p.Seq > floors[i] || p.Tick != 0 && p.Seq >= l.chain.Last(i) {
			return true
		}
	}
	return false
}

// decidedUntil is the last moment that the stages were flushed at, by this worker in the replay or by the one before, as far as
// an output tells.
func (l *session) decidedUntil(outlets []*chain.Outlet) time.Time {
	until := l.chain.Tick()
	see := func(p progress.Position) {
		if p.Tick != progress.FinalTick {
			until = max(until, p.Tick)
		}
	}
	see(l.chain.Done()[0])
	for _, o := range outlets {
		for _, p := range o.Packed {
			see(p)
		}
	}
	return time.UnixMilli(until)
}
