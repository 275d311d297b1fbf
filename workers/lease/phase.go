package lease

import (
	"context"
	"fmt"
)

// phase is how a lane stands with this worker.
type phase uint8

const (
	away      phase = iota // not ours
	held                   // acquired
	releasing              // the holder drains it
	drained                // the holder is done; the table does not know yet
	stopping               // lost; the holder has not stopped yet
)

// call is one of the calls to Lanes.
type call struct {
	lane int
	do   func(lane int)
	what string
}

// settle brings the lanes of this worker in line with a version of the table.
func (k *Keeper) settle(t Table, revision uint64, l Lanes) {
	for _, c := range k.line(t, revision, l) {
		k.o.Log.Info("a lane moves", "call", c.what, "lane", c.lane, "key", k.o.Key, "revision", revision)
		c.do(c.lane)
	}
}

func (k *Keeper) line(t Table, revision uint64, l Lanes) []call {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table, k.revision = t, revision
	var calls []call
	for lane, p := range k.phases {
		next, c := p.after(t.owns(k.o.Worker, lane), t.gives(k.o.Worker, lane), l)
		k.phases[lane] = next
		if c.do != nil {
			c.lane = lane
			calls = append(calls, c)
		}
	}
	return calls
}

// after is the phase when the table says that the lane is ours, and that we give it up.
func (p phase) after(ours, giving bool, l Lanes) (phase, call) {
	switch {
	case p == away && ours:
		return held, call{do: l.Acquire, what: "acquire"}
	case p == held && ours && giving:
		return releasing, call{do: l.Release, what: "release"}
	case (p == held || p == releasing) && !ours:
		return stopping, call{do: l.Lost, what: "lost"}
	case p == drained && !ours:
		return away, call{}
	}
	return p, call{}
}

// hand is what this worker knows of its lanes.
func (k *Keeper) hand() Hand {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := Hand{Drained: map[int]bool{}, Stopping: map[int]bool{}, Leaving: k.leaving}
	for lane, p := range k.phases {
		switch p {
		case drained:
			h.Drained[lane] = true
		case stopping:
			h.Stopping[lane] = true
		}
	}
	return h
}

// Released is called by the holder once it does nothing with the lane any more, after
// Release or after Lost.
func (k *Keeper) Released(lane int) {
	k.mu.Lock()
	if lane >= 0 && lane < len(k.phases) {
		switch k.phases[lane] {
		case held, releasing:
			k.phases[lane] = drained
		case stopping:
			k.phases[lane] = away
		}
	}
	k.mu.Unlock()
	k.poke()
}

// Lost is called by the holder instead of Released when it found out by itself that the lane
// has another owner (a write was refused by a fence, and Owns says so) and has stopped. When
// the table still has the lane as ours, it becomes free, and Acquire may follow.
func (k *Keeper) Lost(lane int) {
	k.o.Log.Info("lane found lost by its holder", "key", k.o.Key, "lane", lane)
	k.Released(lane)
}

// Fresh says that this worker has seen the table in the last half of Expire, and Lanes.Lost was called for
// what is lost. A worker that was stopped or cut off does not know yet who has its lanes.
func (k *Keeper) Fresh() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.o.Now().Sub(k.looked) < k.o.Expire/2
}

// Owns asks now whether the lane is this worker's. It is for a holder whose write was
// refused, or who is not Fresh. When the lane is not, Lost follows, unless the holder calls Keeper.Lost before.
func (k *Keeper) Owns(ctx context.Context, lane int) (bool, error) {
	t, _, err := k.store.read(ctx)
	if err != nil {
		return false, fmt.Errorf("leases: %w", err)
	}
	if len(t.Lanes) == k.o.Lanes && t.owns(k.o.Worker, lane) {
		return true, nil
	}
	k.poke()
	return false, nil
}
