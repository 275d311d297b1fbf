package join

import (
	"fmt"

	"millrace.dev/millrace/workers/stage/state"
)

// stateVersion is raised when the state, or what it means, changes.
const stateVersion = 1

// Snapshot appends the barriers that are open, and the keys of those that have ended early.
func (j *join) Snapshot(b []byte) ([]byte, error) { return state.Write(b, j.format, j.state) }

// Restore goes on where a snapshot was taken.
func (j *join) Restore(b []byte) error {
	if err := state.Read(b, j.format, j.state); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

func (j *join) state(c *state.Codec) {
	var open []*barrier
	for at := j.order.first; at != nil; at = at.after {
		open = append(open, at)
	}
	state.Slice(c, &open, func(b **barrier) {
		if c.Reading() {
			*b = newBarrier(len(j.waiting))
		}
		j.barrier(c, *b)
	})
	for i := range j.until {
		state.Int(c, &j.until[i])
	}
	state.Int(c, &j.number)
	state.Slice(c, &j.forget, func(key *string) {
		c.String(key)
		at := j.ended[*key]
		state.Int(c, &at)
		if c.Reading() {
			j.ended[*key] = at
			j.remember(*key)
		}
	})
	c.Check(len(j.ended) == len(j.forget), "a key that ended twice")
	if c.Reading() && c.OK() {
		j.restored(c, open)
	}
}

func (j *join) barrier(c *state.Codec, b *barrier) {
	c.String(&b.key)
	state.Int(c, &b.number)
	state.Int(c, &b.opened)
	state.Int(c, &b.newest)
	state.Int(c, &b.since)
	state.Int(c, &b.silent)
	answers := make([]wholeAnswer, 0, len(b.answers))
	for i := range b.answers {
		a := &b.answers[i]
		answers = append(answers, wholeAnswer{branch: a.branch, took: a.took, event: b.event(a)})
	}
	state.Slice(c, &answers, func(a *wholeAnswer) { j.wholeAnswer(c, a) })
	if !c.Reading() {
		return
	}
	for _, a := range answers {
		common := 0
		if j.merges() && len(b.answers) > 0 {
			common = shared(b.first, a.event)
		}
		b.add(a.branch, a.took, a.event, common)
	}
}

// wholeAnswer is an answer as it stands in a snapshot: it does not lean on another.
type wholeAnswer struct {
	branch int
	took   int64
	event  []byte
}

func (j *join) wholeAnswer(c *state.Codec, a *wholeAnswer) {
	state.Int(c, &a.branch)
	state.Int(c, &a.took)
	c.Bytes(&a.event)
	c.Check(a.branch >= 0 && a.branch < len(j.branches), "a branch")
}

// restored makes what follows from the barriers.
func (j *join) restored(c *state.Codec, open []*barrier) {
	for _, b := range open {
		j.order.push(b)
		for _, a := range b.answers {
			b.answered |= 1 << a.branch
		}
		j.bytes += len(b.key) + b.bytes
		j.open[b.key] = b
		for i := range j.waiting {
			if j.expected&^(b.answered|b.silent)&(1<<i) != 0 {
				j.waiting[i].push(b)
			}
		}
		j.held.push(b)
	}
	c.Check(len(j.open) == len(open), "a barrier that is open twice")
}
