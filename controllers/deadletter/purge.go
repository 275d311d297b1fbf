package deadletter

import (
	"context"
	"errors"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/replays"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/engine/progress"
)

// headerStep says of which step of a lane an output is (workers/engine/track).
const headerStep = "Millrace-Step"

// Purge removes chosen dead letters, the oldest first.
//
// The last dead letter of a lane says how far the lane is, and all of its last step tell a worker that takes the lane over what of the
// step is stored. Without them it would store dead letters twice. So they stay until newer ones are stored.
func (e *editor) Purge(ctx context.Context, of view.Name, o PurgeOptions) (*Purged, error) {
	d, err := e.open(ctx, of)
	if err != nil {
		return nil, err
	}
	picker, err := e.view.Picker(o.LetterOptions)
	if err != nil {
		return nil, err
	}
	needed, err := d.needed(ctx)
	if err != nil {
		return nil, err
	}
	marks, err := replays.Read(ctx, d.client, d.layout.Leases.Bucket, d.layout.DeadLetters)
	if err != nil {
		return nil, err
	}
	named := map[uint64]bool{}
	for _, seq := range o.Sequences {
		named[seq] = true
	}
	p := &Purged{}
	err = d.each(ctx, o.After, o.Before, func(m *jetstream.Message) error {
		if o.Limit > 0 && p.Removed >= o.Limit {
			p.More = true
			return errEnough
		}
		p.Last = m.Sequence
		switch {
		case len(named) > 0 && !named[m.Sequence], o.Replayed && marks.At(m.Sequence).IsZero(), !picker.Chosen(m):
			return nil
		case m.Sequence >= needed.from(m.Subject):
			p.Kept++
			return nil
		case !o.DryRun:
			if err := d.client.DeleteMessage(ctx, d.layout.DeadLetters, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrNotFound) {
				return err
			}
		}
		p.Removed++
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return p, err
}

var errEnough = errors.New("enough dead letters")

// needed says from which sequence on dead letters on a subject are needed by the lane that writes it.
type needed map[string]uint64

// from is 0, which keeps all, for a subject whose last dead letter is not known.
func (n needed) from(subject string) uint64 { return n[subject] }

func (d *desk) needed(ctx context.Context) (needed, error) {
	all := needed{}
	for i := range d.layout.Ports {
		p := &d.layout.Ports[i]
		if p.Stream != d.layout.DeadLetters {
			continue
		}
		_, err := d.client.Direct(ctx, p.Stream, jetstream.Direct{LastFor: []string{p.Subject}, Batch: 1024}, func(m *jetstream.Message) error {
			all[m.Subject] = m.Sequence
			if o, _ := progress.ReadOutput(m.Get(headerStep)); o != nil {
				all[m.Subject] = min(m.Sequence, o.Since+1)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// each yields the dead letters that are stored now, the oldest first, behind a sequence and before another one (0 = all).
func (d *desk) each(ctx context.Context, after, before uint64, yield func(*jetstream.Message) error) error {
	end, err := d.client.LastSequence(ctx, d.layout.DeadLetters)
	if err != nil {
		return err
	}
	if before > 0 {
		end = min(end, before-1)
	}
	if after >= end {
		return nil
	}
	get := jetstream.Direct{Seq: after + 1, Batch: 1024, MaxBytes: 4 << 20}
	return d.client.Scan(ctx, d.layout.DeadLetters, get, func(m *jetstream.Message) error {
		if m.Sequence > end {
			return jetstream.ErrStop
		}
		return yield(m)
	})
}
