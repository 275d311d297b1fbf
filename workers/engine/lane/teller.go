package lane

import (
	"slices"
	"time"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/track"
)

// A lane tells those who read it how far it is in the ingress (progress.Mark), on each output that carries watermarks
// (config.Output.Watermarks): in the last message of a step on a subject. Where the step stores nothing on a subject, and nothing was stored there
// for a while, it stores a marker, a message without events.
const (
	// tellEvery is how long a subject that has something to say is silent at most.
	tellEvery = 100 * time.Millisecond
	// tellPace is the share of that for each subject, so that a lane with thousands of them does not store markers alone.
	tellPace = 2 * time.Millisecond
	// repeats is how often the last marker is stored again where a reader merges several inputs (config.Output.Merged), each time after twice the
	// time. The merge waits for a later message of each input, and takes the server's word for a quiet one only after two seconds.
	repeats = 4
)

// teller tells on the outputs of one session. A nil one has none that carry watermarks. The outlets are those of chain and track.
type teller struct {
	now      func() time.Time
	outlets  []*told
	byNumber []*told // by the numbers of outlets; nil = it carries no watermarks
	every    time.Duration
	// timer ends when a marker is due while nothing comes.
	timer *time.Timer
}

// told is what an outlet has told.
type told struct {
	outlet *chain.Outlet
	// behind is the watermark of the last message.
	behind int64
	// reach is how far it reaches into each input: a marker reaches as far, or a step in doubt would be forgotten.
	reach []progress.Position
	spoke time.Time
	// speaks says that the step that is stored has messages for the outlet, unsaid that its marker is left out.
	speaks, unsaid bool
	// silent is how many messages in a row said nothing new.
	silent int
}

// newTeller makes the teller of the outlets of a lane that was taken over, and their tracks.
func newTeller(now func() time.Time, outlets []*chain.Outlet, tracks []*track.Track) *teller {
	t := &teller{now: now, byNumber: make([]*told, len(outlets)), timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	for i, o := range outlets {
		if o.Port.Out.Watermarks {
			t.byNumber[i] = &told{outlet: o, behind: tracks[i].Mark.After(), reach: slices.Clone(tracks[i].Reach), silent: repeats}
			t.outlets = append(t.outlets, t.byNumber[i])
		}
	}
	if len(t.outlets) == 0 {
		return nil
	}
	t.every = max(tellEvery, time.Duration(len(t.outlets))*tellPace)
	return t
}

// C is ready when a marker is due.
func (t *teller) C() <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.timer.C
}

// due is when an outlet is to say something again.
func (t *teller) due(o *told, until int64) (at time.Time, some bool) {
	switch {
	case until > o.behind:
		return o.spoke.Add(t.every), true
	case o.silent < repeats && o.outlet.Port.Out.Merged:
		return o.spoke.Add(t.every << (o.silent + 1)), true
	}
	return at, false
}

// add adds the markers that are due to the outputs of a step.
func (t *teller) add(c *chain.Chain, s *step) {
	if t == nil {
		return
	}
	for _, o := range t.outlets {
		o.speaks, o.unsaid = false, false
	}
	for _, p := range s.Pending {
		if o := t.of(p); o != nil {
			o.speaks = true
		}
	}
	now := t.now()
	for _, o := range t.outlets {
		at, some := t.due(o, s.Mark.Until)
		if now.Before(at) && !(s.tellsAll && s.Mark.Until > o.behind) {
			continue
		}
		if some && !o.speaks {
			s.Pending = append(s.Pending, &chain.Pending{Outlet: o.outlet, Outputs: []*chain.Output{c.Marker(o.outlet, progress.Advance(slices.Clone(s.done), o.reach))}})
		}
	}
}

// sign has output k of those of a step on an outlet say how far the lane is: the last one says that of the step.
func (t *teller) sign(p *chain.Pending, m progress.Mark, k int) {
	o := t.of(p)
	if o == nil {
		return
	}
	m.Before = o.behind
	if k < len(p.Outputs)-1 {
		m.Until = m.Before
	}
	m.Until = max(m.Until, m.Before)
	p.Outputs[k].Sign(m)
}

// of is the state of the outlet of some outputs; nil = it carries no watermarks.
func (t *teller) of(p *chain.Pending) *told {
	if t == nil {
		return nil
	}
	return t.byNumber[p.Outlet.Number]
}

// unsaid notes that the marker of the step is not stored on an outlet, because the stream is full. It is due again after a while.
func (t *teller) unsaid(number int) { t.byNumber[number].unsaid = true }

// stored notes what was told when a step is stored, and when the next marker is due.
func (t *teller) stored(s *chain.Step) {
	if t == nil {
		return
	}
	now := t.now()
	for _, p := range s.Pending {
		o := t.of(p)
		if o == nil {
			continue
		}
		if o.unsaid {
			o.spoke = now
			continue
		}
		last := p.Outputs[len(p.Outputs)-1]
		o.reach = append(o.reach[:0], last.Reach...)
		if last.Events > 0 || s.Mark.Until > o.behind {
			o.silent = 0
		} else {
			o.silent++
		}
		o.behind, o.spoke = max(o.behind, s.Mark.Until), now
	}
	t.wait(s.Mark.Until)
}

// wait sets the timer for what is to be told of a lane that is at until.
func (t *teller) wait(until int64) {
	if t == nil {
		return
	}
	var next time.Time
	for _, o := range t.outlets {
		if at, some := t.due(o, until); some && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		t.timer.Stop()
		return
	}
	t.timer.Reset(max(0, next.Sub(t.now())))
}

// tell makes a step of markers, while no other one is at work: that would say the same.
func (l *session) tell() (*step, bool) {
	if l.working.Load() > 0 {
		return nil, true
	}
	return l.spare(), true
}
