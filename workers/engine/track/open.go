package track

import (
	"context"
	"slices"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/stored"
)

// noTrack is the number of the target of a sink among what a lane writes to.
const noTrack = -1

// learnDoubt finds out what is stored of the step that the worker before was at (package progress): it reads the outputs of
// that step back.
func (l *Log) learnDoubt(ctx context.Context, tracks []*Track, parents []int, elsewhere []progress.Position) error {
	var written []progress.Written
	for _, t := range tracks {
		w := progress.Written{Node: t.Node, Track: t.Number, Port: t.Port, Reach: slices.Clone(t.Reach)}
		if t.output != nil {
			w.Done, t.since = t.output.Done, t.output.Since
		}
		if t.Fence != 0 {
			written = append(written, w)
		}
	}
	if elsewhere != nil {
		written = append(written, progress.Written{Node: noTrack, Track: noTrack, Reach: elsewhere, Done: elsewhere})
	}
	done := progress.Done(len(l.places), written)
	for i := range written {
		w := &written[i]
		if w.Done == nil || !w.InDoubt(done) {
			continue
		}
		t := tracks[w.Track]
		t.inDoubt = true
		var err error
		if w.Items, err = l.readBack(ctx, t); err != nil {
			return err
		}
	}
	l.doubt = progress.NewDoubt(len(l.places), parents, written)
	return nil
}

// readBack reads what the outputs of the step in doubt on a track hold, the last one included.
func (l *Log) readBack(ctx context.Context, t *Track) (items []*progress.Items, err error) {
	for seq := t.since; seq < t.Fence; {
		if err := l.stopped(); err != nil {
			return nil, err
		}
		m, err := l.readNext(ctx, t, seq+1)
		if err != nil {
			return nil, err
		}
		if m.Sequence == 0 || m.Sequence > t.Fence { // deleted meanwhile; or another worker writes still, and this one will be refused
			break
		}
		if of := progress.ParseOutput(m.Header.Get(headerStep), l.places, t.Ports); of != nil {
			items = append(items, of.Items)
		}
		seq = m.Sequence
	}
	return items, nil
}

func (l *Log) readNext(ctx context.Context, t *Track, seq uint64) (stored.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.messages.Get(ctx, t.Stream, map[string]any{"seq": seq, "next_by_subj": t.Last})
}

// since is the last message on a track that is not of the step which begins at done. While that may be stored in part
// by the worker before, its outputs count as of the same step.
func (l *Log) since(t *Track, done []progress.Position) uint64 {
	if t.inDoubt && l.doubt.Open(done) {
		return t.since
	}
	return t.Fence
}

// Open finds out where the tracks stand, and what is stored of the step that the worker before was at. places are the inputs,
// parents names for each stage the one whose events it is given. done is up to where everything is stored, as a target says; nil = there is none.
//
// What the worker before has on its way may still arrive: then a publish of this one is refused, and it looks again.
func (l *Log) Open(ctx context.Context, tracks []*Track, places []progress.Place, parents []int, done []progress.Position) (*progress.Doubt, error) {
	l.places = places
	for _, t := range tracks {
		if err := l.load(ctx, t); err != nil {
			return nil, err
		}
	}
	if err := l.learnDoubt(ctx, tracks, parents, done); err != nil {
		return nil, err
	}
	return l.doubt, l.listen(len(tracks))
}

// load reads where the track stands.
func (l *Log) load(ctx context.Context, t *Track) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	last, err := l.messages.Last(ctx, t.Stream, t.Last)
	if err != nil {
		return err
	}
	t.Fence = last.Sequence
	t.output = progress.ParseOutput(last.Header.Get(headerStep), l.places, t.Ports)
	t.Reach = progress.ParseReach(last.Header.Get(HeaderPosition), l.places)
	t.Mark, _ = progress.ParseMark(last.Header.Get(progress.HeaderWatermark))
	t.Written = last.Time
	return nil
}
