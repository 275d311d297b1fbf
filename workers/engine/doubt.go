package engine

import (
	"context"
	"math"
	"slices"

	"millrace.dev/millrace/workers/engine/progress"
)

// learnDoubt finds out what is stored of the step that the worker before was at (package progress): it reads the outputs of
// that step back.
func (l *lane) learnDoubt(ctx context.Context) error {
	l.numbered = l.numbered[:0]
	var written []progress.Written
	for _, tracks := range l.tracks {
		for _, t := range tracks {
			if t == nil {
				continue
			}
			t.number = len(l.numbered)
			l.numbered = append(l.numbered, t)
			w := progress.Written{Node: t.node.index, Track: t.number, Reach: slices.Clone(t.packed)}
			if t.output != nil {
				w.Done, t.since = t.output.Done, t.output.Since
			}
			if t.fence != 0 {
				written = append(written, w)
			}
		}
	}
	done := progress.Done(len(l.inputs), written)
	for i := range written {
		w := &written[i]
		if w.Done == nil || !w.InDoubt(done) {
			continue
		}
		t := l.numbered[w.Track]
		t.inDoubt = true
		var err error
		if w.Items, err = l.readBack(ctx, t); err != nil {
			return err
		}
	}
	parents := make([]int, len(l.e.nodes))
	parents[0] = -1
	for _, n := range l.e.nodes {
		for _, c := range n.children {
			parents[c.index] = n.index
		}
	}
	l.doubt = progress.NewDoubt(len(l.inputs), parents, written)
	return nil
}

// readBack reads what the outputs of the step in doubt on a track hold, the last one included.
func (l *lane) readBack(ctx context.Context, t *track) (items []*progress.Items, err error) {
	for seq := t.since; seq < t.fence; {
		if l.stopped() {
			return nil, errStopped
		}
		m, err := l.readNext(ctx, t, seq+1)
		if err != nil {
			return nil, err
		}
		if m.seq == 0 || m.seq > t.fence { // deleted meanwhile; or another worker writes still, and this one will be refused
			break
		}
		if of := progress.ParseOutput(m.header.Get(headerStep), l.places); of != nil {
			items = append(items, of.Items)
		}
		seq = m.seq
	}
	return items, nil
}

func (l *lane) readNext(ctx context.Context, t *track, seq uint64) (storedMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.e.getMessage(ctx, t.port.out.Stream, map[string]any{"seq": seq, "next_by_subj": t.last})
}

// done is up to where everything is stored that the lane has processed so far, once the steps before are.
func (l *lane) done() []progress.Position {
	done := make([]progress.Position, len(l.inputs))
	for i := range done {
		done[i] = l.at(i)
		done[i].Index = math.MaxUint32
	}
	return l.doubt.AtLeast(done)
}

// since is the last message on a track that is not of the step which begins at done. While that may be stored in part
// by the worker before, its outputs count as of the same step.
func (l *lane) since(t *track, done []progress.Position) uint64 {
	if t.inDoubt && l.doubt.Open(done) {
		return t.since
	}
	return t.fence
}
