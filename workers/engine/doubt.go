package engine

import (
	"context"
	"slices"

	"millrace.dev/millrace/workers/engine/progress"
)

// learnDoubt finds out what is stored of the step that the worker before was at (package progress): it reads the outputs of
// that step back.
func (l *lane) learnDoubt(ctx context.Context) error {
	var written []progress.Written
	for _, t := range l.tracks {
		w := progress.Written{Node: t.outlet.Node.Index, Track: t.outlet.Number, Port: t.outlet.Port.Number, Reach: slices.Clone(t.outlet.Packed)}
		if t.output != nil {
			w.Done, t.since = t.output.Done, t.output.Since
		}
		if t.fence != 0 {
			written = append(written, w)
		}
	}
	done := progress.Done(len(l.inputs), written)
	for i := range written {
		w := &written[i]
		if w.Done == nil || !w.InDoubt(done) {
			continue
		}
		t := l.tracks[w.Track]
		t.inDoubt = true
		var err error
		if w.Items, err = l.readBack(ctx, t); err != nil {
			return err
		}
	}
	l.doubt = progress.NewDoubt(len(l.inputs), l.e.graph.Parents(), written)
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
		if of := l.parseOutput(t, m.header); of != nil {
			items = append(items, of.Items)
		}
		seq = m.seq
	}
	return items, nil
}

func (l *lane) readNext(ctx context.Context, t *track, seq uint64) (storedMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.e.getMessage(ctx, t.outlet.Port.Out.Stream, map[string]any{"seq": seq, "next_by_subj": t.outlet.Pattern})
}

// since is the last message on a track that is not of the step which begins at done. While that may be stored in part
// by the worker before, its outputs count as of the same step.
func (l *lane) since(t *track, done []progress.Position) uint64 {
	if t.inDoubt && l.doubt.Open(done) {
		return t.since
	}
	return t.fence
}
