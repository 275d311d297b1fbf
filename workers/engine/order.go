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
func (l *lane) merges() bool { return l.perMessage && len(l.inputs) > 1 }

// before orders messages of several inputs: by when they were stored, then by input.
func (m *message) before(o *message) bool {
	return cmp.Or(cmp.Compare(m.stored, o.stored), cmp.Compare(m.in.index, o.in.index), cmp.Compare(m.seq, o.seq)) < 0
}

// mergeTick is how often it is looked whether the server has told more of an input that is idle.
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
		if first != nil && len(messages) == 0 && l.inputs[i].quietAt()-int64(idleMargin*time.Second) < first.stored {
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
// come about in the same order as before.
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
	if first == nil {
		return nil
	}
	for i, in := range l.inputs {
		request := map[string]any{"start_time": time.Unix(0, first.stored)}
		for reached := floors[i] == 0; !reached; {
			request["batch"], request["max_bytes"], request["next_by_subj"] = replayBatch, replayBytes, in.filter
			messages, all, err := l.history(ctx, in, request, floors[i])
			if err != nil {
				return err
			}
			for _, m := range messages {
				if first.before(m) {
					l.refed[i] = append(l.refed[i], m)
				}
			}
			if reached = all || len(messages) == 0; !reached {
				request = map[string]any{"seq": messages[len(messages)-1].seq + 1}
			}
		}
		if len(l.refed[i]) == 0 {
			continue
		}
		floors[i] = l.refed[i][0].seq - 1
		in.mu.Lock()
		for _, m := range l.refed[i] {
			m.generation = in.generation - 1 // they are acknowledged
			in.hand.messages++
			in.hand.bytes += m.size
		}
		in.mu.Unlock()
	}
	return nil
}
