package engine

import (
	"cmp"
	"context"
	"time"
)

// A stage with state that has several inputs is given their messages in the order in which they were stored: so a replay makes
// the same order. A message is in turn when every other input has a later one, or the server says that there is none
// before it (input.look), with idleMargin for clocks of servers that differ.

// merges says whether the lane has to bring its inputs into one order.
func (l *lane) merges() bool { return l.e.graph.Stateful && len(l.inputs) > 1 }

// before orders messages of several inputs: by when they were stored, then by input.
func (m *message) before(o *message) bool {
	return cmp.Or(cmp.Compare(m.stored, o.stored), cmp.Compare(m.in.index, o.in.index), cmp.Compare(m.seq, o.seq)) < 0
}

// mergeTick is how often merge checks whether an idle input has moved on.
const mergeTick = 20 * time.Millisecond

// merge passes what arrives on to l.sorted, in order.
func (l *lane) merge(ctx context.Context) {
	waiting := l.refed
	l.refed = nil
	tick := time.NewTicker(mergeTick)
	defer tick.Stop()
	held := false // something waits for its turn
	defer func() { l.hold(held, false) }()
	for {
		var out chan<- *message
		first, some := l.inTurn(waiting)
		if first != nil {
			out = l.sorted
		}
		held = l.hold(held, some && first == nil)
		select {
		case m := <-l.queue:
			waiting[m.in.index] = append(waiting[m.in.index], m)
		case out <- first:
			waiting[first.in.index][0] = nil // it is not held on to
			waiting[first.in.index] = waiting[first.in.index][1:]
		case <-tick.C:
		case <-l.stopping:
			return
		case <-ctx.Done():
			return
		}
	}
}

// hold notes that the lane waits for another input, which is no fault of its own (Engine.Alive).
func (l *lane) hold(before, now bool) bool {
	switch {
	case now && !before:
		l.waiting.Add(1)
	case before && !now:
		l.waiting.Add(-1)
	}
	return now
}

// inTurn is the first of what waits, by input, if nothing can come before it; nil = none is known. some says that something waits.
func (l *lane) inTurn(waiting [][]*message) (first *message, some bool) {
	for _, messages := range waiting {
		if len(messages) > 0 && (first == nil || messages[0].before(first)) {
			first = messages[0]
		}
	}
	for i, messages := range waiting {
		if first != nil && len(messages) == 0 && l.inputs[i].quietAt()-int64(idleMargin) < first.stored {
			return nil, true
		}
	}
	return first, first != nil
}

// quietAt is until when the server had nothing more to deliver, Unix nanoseconds.
func (in *input) quietAt() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.quiet
}

// alignFloors moves the floors of several inputs back to one place in their common order: behind the first message that is not
// acknowledged. What is acknowledged and stands behind it is processed again, in turn: its outputs are stored, and the state is to
// come about in the same order as before. An input of which that is more than the lane may have in hand stays where it is:
// another one has a backlog then, as one that is new to the stage, and its messages come late.
func (l *lane) alignFloors(ctx context.Context, floors []uint64) error {
	l.refed = make([][]*message, len(l.inputs))
	if !l.merges() {
		return nil
	}
	var first *message
	for i, in := range l.inputs {
		m, err := l.leader(ctx, in, map[string]any{"seq": floors[i] + 1, "next_by_subj": in.filter})
		if err != nil {
			return err
		}
		if next := (&message{in: in, seq: m.seq, stored: m.time.UnixNano()}); m.seq != 0 && (first == nil || next.before(first)) {
			first = next
		}
	}
	for i, in := range l.inputs {
		if first == nil || floors[i] == 0 {
			continue
		}
		messages, err := l.behind(ctx, in, first, floors[i])
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			continue
		}
		l.refed[i] = messages
		floors[i] = messages[0].seq - 1
		in.mu.Lock()
		for _, m := range messages {
			m.generation = in.generation - 1 // they are acknowledged
			in.hand.messages++
			in.hand.bytes += m.size
		}
		in.mu.Unlock()
	}
	return nil
}

// behind reads the messages of an input behind first, up to floor; none when they are more than the input may have in hand.
func (l *lane) behind(ctx context.Context, in *input, first *message, floor uint64) (all []*message, err error) {
	request := map[string]any{"start_time": time.Unix(0, first.stored)}
	for size := 0; ; {
		request["batch"], request["max_bytes"], request["next_by_subj"] = replayBatch, replayBytes, in.filter
		messages, reached, err := l.history(ctx, in, request, floor)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if !first.before(m) {
				continue
			}
			if size += m.size; size > in.budget {
				l.log.Info("an input is far ahead of another one: its messages are not taken again in the order of both", "stream", in.cfg.Stream, "stored", time.Unix(0, first.stored))
				return nil, nil
			}
			all = append(all, m)
		}
		switch {
		case reached || len(messages) == 0:
			return all, nil
		case l.stopped():
			return nil, errStopped
		}
		request = map[string]any{"seq": messages[len(messages)-1].seq + 1}
	}
}
