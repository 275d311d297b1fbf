package engine

import (
	"millrace.dev/millrace/workers/engine/lane"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/stats"
)

// duplicates are those of each stage of the worker that has any, as the table of leases sums them up.
func (e *Engine) duplicates() map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range e.worker.Nodes {
		if d := n.Stats.Duplicates(); d > 0 {
			all[n.Config.Stage] = uint64(d)
		}
	}
	return all
}

// Stats returns what the first stage of the worker did so far. It is cheap enough to ask
// several times a second.
func (e *Engine) Stats() stats.Snapshot { return e.snapshot(e.worker.Nodes[0]) }

// StatsOf returns what a stage of the worker did so far, by its name; false when there is none.
func (e *Engine) StatsOf(name string) (stats.Snapshot, bool) {
	for _, n := range e.worker.Nodes {
		if n.Config.Stage == name {
			return e.snapshot(n), true
		}
	}
	return stats.Snapshot{}, false
}

func (e *Engine) snapshot(n *lane.Node) stats.Snapshot {
	out := n.Stats.Snapshot()
	inHand, pending, lanes := e.inHand()
	out.InFlightMessages, out.InFlightBytes, out.Lanes = inHand.Messages, inHand.Bytes, lanes
	out.InOverflow = e.inOverflow()
	for _, l := range e.allLanes() {
		out.LagSeconds = max(out.LagSeconds, l.Waited().Seconds())
	}
	out.Lag = int64(e.worker.Nodes[0].Stats.PerMessage()*float64(pending+uint64(inHand.Messages)) + 0.5)
	return out
}

// inHand sums what the lanes have in hand, and the messages behind it.
func (e *Engine) inHand() (sum source.Amount, pending uint64, lanes int) {
	for _, l := range e.allLanes() {
		inputs := l.Inputs()
		if inputs == nil {
			continue // it has not begun
		}
		if !l.Replays() {
			lanes++
		}
		for _, in := range inputs {
			s := in.State()
			sum.Messages += s.InHand.Messages
			sum.Bytes += s.InHand.Bytes
			pending += s.Pending
		}
	}
	return sum, pending, lanes
}

// inOverflow estimates the events of the lanes that wait in the overflow.
func (e *Engine) inOverflow() int64 {
	messages := uint64(0)
	for _, l := range e.allLanes() {
		if !l.Replays() {
			continue
		}
		for _, in := range l.Inputs() {
			s := in.State()
			messages += s.Pending + uint64(s.InHand.Messages)
		}
	}
	return int64(e.worker.Nodes[0].Stats.PerMessage()*float64(messages) + 0.5)
}
