package source

import (
	"context"
	"time"

	"millrace.dev/millrace/workers/engine/stored"
)

// Align moves the floors of several inputs back to one place in their common order: behind the first message that is not
// acknowledged. What is acknowledged and stands behind it is processed again, in turn: its outputs are stored, and the state is to
// come about in the same order as before. An input of which that is more than the lane may have in hand stays where it is:
// another one has a backlog then, as one that is new to the stage, and its messages come late.
//
// It returns what is to be processed again, by input. It ends with the error of stopped, if there is one.
func Align(ctx context.Context, inputs []*Input, floors []uint64, stopped func() error) (again [][]*Message, err error) {
	again = make([][]*Message, len(inputs))
	var first *Message
	for i, in := range inputs {
		m, err := in.leader(ctx, map[string]any{"seq": floors[i] + 1, "next_by_subj": in.filter})
		if err != nil {
			return nil, err
		}
		if next := (&Message{Input: in, Sequence: m.Sequence, Stored: m.Time.UnixNano()}); m.Sequence != 0 && (first == nil || next.before(first)) {
			first = next
		}
	}
	for i, in := range inputs {
		if first == nil || floors[i] == 0 {
			continue
		}
		messages, err := in.behind(ctx, first, floors[i], stopped)
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			continue
		}
		again[i] = messages
		floors[i] = messages[0].Sequence - 1
		in.mu.Lock()
		for _, m := range messages {
			m.generation = in.generation - 1 // they are acknowledged
			in.inHand.Messages++
			in.inHand.Bytes += m.Size
		}
		in.mu.Unlock()
	}
	return again, nil
}

// behind reads the messages of an input behind first, up to floor; none when they are more than the input may have in hand.
func (in *Input) behind(ctx context.Context, first *Message, floor uint64, stopped func() error) (all []*Message, err error) {
	request := map[string]any{"start_time": time.Unix(0, first.Stored)}
	for size := 0; ; {
		request["batch"], request["max_bytes"], request["next_by_subj"] = stored.Batch, stored.Bytes, in.filter
		messages, reached, err := in.history(ctx, request, floor)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if !first.before(m) {
				continue
			}
			if size += m.Size; size > in.budget {
				in.laneLog.Info("an input is far ahead of another one: its messages are not taken again in the order of both", "stream", in.Config.Stream, "stored", time.Unix(0, first.Stored))
				return nil, nil
			}
			all = append(all, m)
		}
		if reached || len(messages) == 0 {
			return all, nil
		}
		if err := stopped(); err != nil {
			return nil, err
		}
		request = map[string]any{"seq": messages[len(messages)-1].Sequence + 1}
	}
}
