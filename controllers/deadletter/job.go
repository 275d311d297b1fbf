package deadletter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/pause"
	"millrace.dev/millrace/controllers/view"
)

const (
	// batchSize is how many dead letters a batch has at most.
	batchSize        = 256
	minRate, maxRate = 1.0, 1e6
	// maxSequences is how many dead letters may be named one by one: a job is the value of one key.
	maxSequences = 4096
	// settled is how long after its intent a batch of a process that is gone may have been stored.
	settled = 5 * time.Minute
)

// Start stores a job.
func (e *editor) Start(ctx context.Context, of view.Name, o ReplayOptions) (*Job, error) {
	d, err := e.open(ctx, of)
	if err != nil {
		return nil, err
	}
	if err := d.check(&o); err != nil {
		return nil, err
	}
	end, err := d.client.LastSequence(ctx, d.layout.DeadLetters)
	if err != nil {
		return nil, err
	}
	if !o.DryRun {
		if err := d.marks.Room(ctx); err != nil {
			return nil, err
		}
	}
	r := &record{Job: Job{ID: newID(), Options: o, State: StateRunning, Started: e.now().UTC(), Updated: e.now().UTC(), Last: o.After, End: end}}
	if o.DryRun {
		r.ID = ""
		return &r.Job, d.dryRun(ctx, r)
	}
	all, err := d.records(ctx)
	if err != nil {
		return nil, err
	}
	d.forget(ctx, all)
	return &r.Job, d.save(ctx, r)
}

// check refuses options that make no sense.
func (d *desk) check(o *ReplayOptions) error {
	if err := d.closed(); err != nil {
		return err
	}
	ingress := d.layout.Ingress.Published
	switch {
	case strings.ContainsAny(o.To, "*> \t"):
		return fmt.Errorf("to is %q: %w: want one subject, without wildcards", o.To, view.ErrInvalid)
	case o.To != "" && o.To != ingress && !strings.HasPrefix(o.To, ingress+"."):
		return fmt.Errorf("to is %q: %w: want a subject below the ingress, %s", o.To, view.ErrInvalid, ingress)
	case o.Limit < 0:
		return fmt.Errorf("limit is %d: %w: want 0 or more", o.Limit, view.ErrInvalid)
	case o.Rate != 0 && (math.IsNaN(o.Rate) || o.Rate < minRate || o.Rate > maxRate): // what is slower would look as if nobody worked on it
		return fmt.Errorf("rate is %v: %w: want %v to %v dead letters a second, or 0 for as fast as it goes", o.Rate, view.ErrInvalid, minRate, maxRate)
	case len(o.Sequences) > maxSequences:
		return fmt.Errorf("%d sequences: %w: name %d at most, or choose by stage, reason, time or filter", len(o.Sequences), view.ErrInvalid, maxSequences)
	}
	_, err := d.view.Picker(o.LetterOptions)
	return err
}

// dryRun counts what a job would do.
func (d *desk) dryRun(ctx context.Context, r *record) error {
	w, err := d.worker(r)
	if err != nil {
		return err
	}
	for {
		b, err := w.batch(ctx)
		if err != nil || b == nil {
			r.State = StateDone
			return err
		}
		w.count(b)
	}
}

// worker is a process at work on a job.
type worker struct {
	*desk

	r      *record
	picker *view.Picker
	named  map[uint64]bool // nil = dead letters are not named one by one
	ready  []*jetstream.Message
	read   uint64 // the last sequence that was read of the stream
	told   func(*Job)

	batches   int
	published int       // in this process
	began     time.Time // of the first
}

// closed is nil when the ingress of the pipeline may be published on.
func (d *desk) closed() error {
	if d.layout.Closed == "" {
		return nil
	}
	return fmt.Errorf("pipeline %s takes no replay: %w: %s", d.layout.Name, view.ErrInvalid, d.layout.Closed)
}

func (d *desk) worker(r *record) (*worker, error) {
	if err := d.closed(); err != nil {
		return nil, err
	}
	p, err := d.view.Picker(r.Options.LetterOptions)
	if err != nil {
		return nil, err
	}
	w := &worker{desk: d, r: r, picker: p, read: r.Last, told: func(*Job) {}}
	if len(r.Options.Sequences) > 0 {
		w.named = map[uint64]bool{}
		for _, seq := range r.Options.Sequences {
			w.named[seq] = true
		}
	}
	return w, nil
}

// Run works on a job.
func (e *editor) Run(ctx context.Context, of view.Name, id string, told func(*Job)) (*Job, error) {
	d, err := e.open(ctx, of)
	if err != nil {
		return nil, err
	}
	r, err := d.claim(ctx, id)
	if err != nil {
		return nil, err
	}
	w, err := d.worker(r)
	if err != nil {
		return nil, err
	}
	if told != nil {
		w.told = told
	}
	err = w.run(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errForeign):
		w.r.State, w.r.Error, w.r.Intent = StateFailed, err.Error(), nil
		err = errors.Join(err, w.save(ctx, w.r))
	}
	return &w.r.Job, err
}

// claim takes over a job on which nobody works.
func (d *desk) claim(ctx context.Context, id string) (*record, error) {
	var before *record
	for {
		r, err := d.load(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case r.State != StateRunning && r.Intent == nil:
			return nil, fmt.Errorf("job %s is %s: %w", id, r.State, ErrEnded)
		case before != nil && before.revision != r.revision:
			return nil, fmt.Errorf("job %s: %w", id, ErrRunning)
		case r.Owner == "" || d.now().Sub(r.Updated) >= StalledAfter:
			r.Owner = newID()
			if err = d.save(ctx, r); errors.Is(err, jetstream.ErrConflict) {
				err = fmt.Errorf("job %s: %w", id, ErrRunning)
			}
			return r, err
		}
		before = r
		if err := pause.For(ctx, StalledAfter-d.now().Sub(r.Updated)); err != nil {
			return nil, err
		}
	}
}

// run publishes batch by batch.
func (w *worker) run(ctx context.Context) error {
	w.began = w.now()
	if w.r.Intent != nil {
		if err := w.goOn(ctx); err != nil {
			return err
		}
	}
	for w.r.State == StateRunning {
		b, err := w.batch(ctx)
		if err != nil {
			return err
		}
		if b == nil {
			w.r.State, w.r.Last = StateDone, w.r.End
			break
		}
		if err := w.publishAll(ctx, b); err != nil {
			return err
		}
		if w.now().Sub(w.r.Updated) > StalledAfter/3 {
			if err := w.progress(ctx); err != nil {
				return err
			}
		}
	}
	return w.progress(ctx)
}

// progress stores how far the job is. Somebody may have cancelled it meanwhile; whoever has taken it over ends this process.
func (w *worker) progress(ctx context.Context) error {
	for {
		err := w.save(ctx, w.r)
		if !errors.Is(err, jetstream.ErrConflict) {
			w.told(&w.r.Job)
			return err
		}
		now, err := w.load(ctx, w.r.ID)
		switch {
		case err != nil:
			return err
		case now.Owner != w.r.Owner:
			return fmt.Errorf("job %s: %w", w.r.ID, ErrRunning)
		case now.State == StateCancelled:
			w.r.State = StateCancelled
		}
		w.r.revision = now.revision
	}
}

// publishAll publishes a batch, and marks it.
func (w *worker) publishAll(ctx context.Context, b *batch) error {
	if len(b.letters) == 0 {
		w.count(b)
		return nil
	}
	if w.batches++; w.batches%64 == 0 {
		if err := w.marks.Room(ctx); err != nil {
			return err
		}
	}
	after, err := w.client.LastSequence(ctx, w.layout.Ingress.Stream)
	if err != nil {
		return err
	}
	w.r.Intent = &intent{After: after, At: w.now().UTC()}
	for _, m := range b.letters {
		w.r.Intent.Sequences = append(w.r.Intent.Sequences, m.Sequence)
	}
	if err := w.progress(ctx); err != nil {
		return err
	}
	if w.r.State != StateRunning { // nothing of the batch is published
		w.r.Intent = nil
		return nil
	}
	if err := w.publish(ctx, b.letters); err != nil {
		return err
	}
	return w.done(ctx, b)
}

// done marks a batch that is stored. The next one, or the end of the job, stores that it is done.
func (w *worker) done(ctx context.Context, b *batch) error {
	sequences := make([]uint64, 0, len(b.letters))
	for _, m := range b.letters {
		sequences = append(sequences, m.Sequence)
	}
	if err := w.marks.Mark(ctx, w.r.Started, sequences); err != nil {
		return err
	}
	w.count(b)
	w.r.Intent = nil
	w.told(&w.r.Job)
	return nil
}

// publish publishes messages, no faster than the rate.
func (w *worker) publish(ctx context.Context, letters []*jetstream.Message) error {
	for _, m := range letters {
		if rate := w.r.Options.Rate; rate > 0 {
			due := w.began.Add(time.Duration(float64(w.published) / rate * float64(time.Second)))
			if err := pause.For(ctx, due.Sub(w.now())); err != nil {
				return err
			}
		}
		if w.now().Sub(w.r.Updated) > StalledAfter/3 { // else somebody might take it for stalled
			if err := w.progress(ctx); err != nil { // one that was cancelled meanwhile ends its batch
				return err
			}
		}
		stream, _, err := w.client.Publish(ctx, w.message(m))
		if err != nil {
			return fmt.Errorf("dead letter %d: %w", m.Sequence, err)
		}
		if stream != w.layout.Ingress.Stream {
			return fmt.Errorf("dead letter %d was stored in stream %s, not in the ingress %s: %w", m.Sequence, stream, w.layout.Ingress.Stream, errForeign)
		}
		w.published++
	}
	return nil
}

// errExpired means that nobody can tell any more which dead letters of a batch were published.
var errExpired = errors.New("cancel the job, look at these dead letters, and publish those that are missing with --again")

var errForeign = errors.New("is the manifest that of this NATS server?")

// message is a dead letter as it was received.
func (w *worker) message(m *jetstream.Message) *jetstream.Message {
	r := replay{stream: w.layout.DeadLetters, ingress: w.layout.Ingress.Published, to: w.layout.Ingress.Published + ".replayed"}
	if w.r.Options.To != "" {
		r.ingress, r.to = "", w.r.Options.To
	}
	out := r.message(m)
	out.ID = w.id(m.Sequence)
	return out
}

// id is that of the message: all jobs that publish a dead letter for the first time have the same.
func (w *worker) id(sequence uint64) string {
	id := fmt.Sprintf("dead-letter:%s:%d", w.layout.DeadLetters, sequence)
	if w.r.Options.Again {
		id += ":" + w.r.ID
	}
	return id
}

// goOn ends the batch of a process that is gone: what of it is in the ingress is done, the rest is published now.
func (w *worker) goOn(ctx context.Context) error {
	stored, err := w.stored(ctx, w.r)
	if err != nil {
		return err
	}
	b, rest := &batch{}, []*jetstream.Message{}
	for _, seq := range w.r.Intent.Sequences {
		b.last = max(b.last, seq)
		m := &jetstream.Message{Sequence: seq}
		if !stored[seq] {
			if w.r.State != StateRunning {
				continue // it was cancelled
			}
			if m, err = w.client.Get(ctx, w.layout.DeadLetters, seq); err != nil {
				return err
			}
			if m == nil { // it has expired
				continue
			}
			rest = append(rest, m)
		}
		b.letters = append(b.letters, m)
	}
	w.r.Intent.At = w.now().UTC()
	if err := w.save(ctx, w.r); err != nil {
		return err
	}
	if err := w.publish(ctx, rest); err != nil {
		return err
	}
	if err := w.done(ctx, b); err != nil {
		return err
	}
	w.read = w.r.Last
	return nil
}

// stored are the dead letters of the intent of a job that the ingress holds.
func (d *desk) stored(ctx context.Context, r *record) (map[uint64]bool, error) {
	w := worker{desk: d, r: r}
	wanted, found := map[string]uint64{}, map[uint64]bool{}
	for _, seq := range r.Intent.Sequences {
		wanted[w.id(seq)] = seq
	}
	ingress, err := d.client.Stream(d.layout.Ingress.Stream)
	if err != nil {
		return nil, err
	}
	if ingress.State.FirstSeq > r.Intent.After+1 {
		return nil, fmt.Errorf("job %s: stream %s no longer holds what was published when its process ended, so which of dead letters %d to %d were published is not known: %w",
			r.ID, d.layout.Ingress.Stream, slices.Min(r.Intent.Sequences), slices.Max(r.Intent.Sequences), errExpired)
	}
	get := jetstream.Direct{Seq: r.Intent.After + 1, Batch: 1024, MaxBytes: 4 << 20}
	err = d.client.Scan(ctx, d.layout.Ingress.Stream, get, func(m *jetstream.Message) error {
		if seq, ok := wanted[m.Get("Nats-Msg-Id")]; ok {
			found[seq] = true
		}
		if len(found) == len(wanted) || m.Stored.After(r.Intent.At.Add(settled)) {
			return jetstream.ErrStop
		}
		return nil
	})
	return found, err
}

// batch is what is published together.
type batch struct {
	letters           []*jetstream.Message
	before, truncated int
	// last is the last sequence that was looked at.
	last uint64
}

// count adds up a batch.
func (w *worker) count(b *batch) {
	w.r.Published += len(b.letters)
	w.r.Before += b.before
	w.r.Truncated += b.truncated
	w.r.Last = max(w.r.Last, b.last)
}

// batch reads the next one; nil at the end.
func (w *worker) batch(ctx context.Context) (*batch, error) {
	size := batchSize
	if rate := w.r.Options.Rate; rate > 0 {
		size = min(size, max(int(rate), 1))
	}
	if limit := w.r.Options.Limit; limit > 0 {
		size = min(size, limit-w.r.Published)
	}
	if size <= 0 {
		return nil, nil
	}
	if len(w.ready) == 0 {
		if err := w.fetch(ctx); err != nil || len(w.ready) == 0 {
			return nil, err
		}
	}
	b := &batch{}
	var chosen []*jetstream.Message
	for len(w.ready) > 0 && len(chosen) < size {
		m := w.ready[0]
		w.ready, b.last = w.ready[1:], m.Sequence
		switch {
		case w.named != nil && !w.named[m.Sequence], !w.picker.Chosen(m):
		case m.Get(jetstream.HeaderTruncated) != "":
			b.truncated++
		default:
			chosen = append(chosen, m)
		}
	}
	var err error
	b.letters, err = w.fresh(ctx, chosen)
	b.before = len(chosen) - len(b.letters)
	return b, err
}

// fetch reads what comes next in the stream.
func (w *worker) fetch(ctx context.Context) error {
	end := w.r.End
	if before := w.r.Options.Before; before > 0 {
		end = min(end, before-1)
	}
	if w.read >= end {
		return nil
	}
	_, err := w.client.Direct(ctx, w.layout.DeadLetters, jetstream.Direct{Seq: w.read + 1, Batch: 1024, MaxBytes: 4 << 20}, func(m *jetstream.Message) error {
		if w.read = m.Sequence; m.Sequence <= end {
			w.ready = append(w.ready, m)
		}
		return nil
	})
	return err
}

// fresh leaves out what was published again before, or is about to be by another job.
func (w *worker) fresh(ctx context.Context, chosen []*jetstream.Message) ([]*jetstream.Message, error) {
	if w.r.Options.Again || len(chosen) == 0 {
		return chosen, nil
	}
	taken, err := w.taken(ctx)
	if err != nil {
		return nil, err
	}
	sequences := make([]uint64, 0, len(chosen))
	for _, m := range chosen {
		sequences = append(sequences, m.Sequence)
	}
	marked, err := w.marks.Marked(ctx, sequences)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(chosen, func(m *jetstream.Message) bool { return marked[m.Sequence] || taken[m.Sequence] }), nil
}

// taken are the dead letters in the hands of other jobs. What a process that is gone has published, and not marked, is marked.
func (w *worker) taken(ctx context.Context) (map[uint64]bool, error) {
	records, err := w.records(ctx)
	if err != nil {
		return nil, err
	}
	all := map[uint64]bool{}
	for _, r := range records {
		switch {
		case r.Intent == nil || r.ID == w.r.ID:
		case w.now().Sub(r.Updated) < StalledAfter:
			for _, seq := range r.Intent.Sequences {
				all[seq] = true
			}
		default:
			var sequences []uint64
			switch stored, err := w.stored(ctx, r); {
			case errors.Is(err, errExpired): // better not at all than twice
				sequences = r.Intent.Sequences
			case err != nil:
				return nil, err
			default:
				for seq := range stored {
					sequences = append(sequences, seq)
				}
			}
			if err := w.marks.Mark(ctx, r.Started, sequences); err != nil {
				return nil, err
			}
			if r.State != StateRunning && w.now().Sub(r.Intent.At) > settled { // nobody goes on with it, and nothing of it comes any more
				r.Intent = nil
				if err := w.save(ctx, r); err != nil && !errors.Is(err, jetstream.ErrConflict) {
					return nil, err
				}
			}
		}
	}
	return all, nil
}
