package deadletter

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/replays"
	"millrace.dev/millrace/controllers/view"
)

const (
	jobPrefix = replays.Prefix + ".job"
	// keepJobs is how many jobs that have ended are remembered.
	keepJobs = 50
)

// record is what is stored of a job.
type record struct {
	Job
	// Owner is the process that works on it; empty = none has begun.
	Owner string `json:"owner,omitempty"`
	// Intent is the batch that is being published.
	Intent *intent `json:"intent,omitempty"`

	revision uint64
}

// intent is a batch: it is stored before any of it is published, so that whoever goes on knows what to look for in the ingress.
type intent struct {
	Sequences []uint64 `json:"sequences"`
	// After is the last sequence of the ingress before the batch.
	After uint64    `json:"after"`
	At    time.Time `json:"at"`
}

// editor is the Editor of the pipelines of a source.
type editor struct {
	source view.Source
	view   *view.View
	now    func() time.Time
}

// New returns the editor of the pipelines of a source. now is the clock.
func New(source view.Source, now func() time.Time) (Editor, error) {
	v, err := view.New(source, now)
	if err != nil {
		return nil, err
	}
	return &editor{source: source, view: v, now: now}, nil
}

// desk is where a pipeline is worked on.
type desk struct {
	*editor

	layout *view.Layout
	client *jetstream.Client
	marks  replays.Stream
}

func (e *editor) open(ctx context.Context, of view.Name) (*desk, error) {
	l, c, err := view.Open(ctx, e.source, of)
	if err != nil {
		return nil, err
	}
	s, err := c.Stream(l.DeadLetters)
	if err != nil {
		return nil, err
	}
	return &desk{e, l, c, replays.Stream{Client: c, Bucket: l.Leases.Bucket, Name: l.DeadLetters, Created: s.Created}}, nil
}

// load reads a job.
func (d *desk) load(ctx context.Context, id string) (*record, error) {
	if id == "" || strings.ContainsAny(id, ".*> \t") {
		return nil, fmt.Errorf("job %q: %w", id, view.ErrInvalid)
	}
	v, err := d.client.Value(ctx, d.layout.Leases.Bucket, jobPrefix+"."+id)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, fmt.Errorf("job %s of pipeline %s: %w", id, d.layout.Name, view.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return d.parse(v)
}

func (d *desk) parse(v jetstream.Value) (*record, error) {
	var r record
	if err := json.Unmarshal(v.Data, &r); err != nil {
		return nil, fmt.Errorf("key %s of bucket %s: %w", v.Key, d.layout.Leases.Bucket, err)
	}
	r.revision = v.Revision
	r.Stalled = r.State == StateRunning && d.now().Sub(r.Updated) >= StalledAfter
	return &r, nil
}

// save writes a job; jetstream.ErrConflict when another process has.
func (d *desk) save(ctx context.Context, r *record) error {
	r.Updated, r.Stalled = d.now().UTC(), false
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	r.revision, err = d.put(ctx, r.ID, data, r.revision)
	return err
}

func (d *desk) put(ctx context.Context, id string, data []byte, revision uint64) (uint64, error) {
	at, err := d.client.Put(ctx, d.layout.Leases.Bucket, jobPrefix+"."+id, data, revision)
	if err != nil {
		return revision, err
	}
	return at, nil
}

// records are all jobs, the newest first.
func (d *desk) records(ctx context.Context) ([]*record, error) {
	values, err := d.client.Values(ctx, d.layout.Leases.Bucket, jobPrefix)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*record
	for _, v := range values {
		if r, err := d.parse(v); err == nil { // else it is of another release
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// Jobs lists jobs, the newest first.
func (e *editor) Jobs(ctx context.Context, of view.Name) ([]Job, error) {
	d, err := e.open(ctx, of)
	if err != nil {
		return nil, err
	}
	records, err := d.records(ctx)
	jobs := make([]Job, 0, len(records))
	for _, r := range records {
		jobs = append(jobs, r.Job)
	}
	return jobs, err
}

// Cancel has a job end behind its next batch.
func (e *editor) Cancel(ctx context.Context, of view.Name, id string) (*Job, error) {
	d, err := e.open(ctx, of)
	if err != nil {
		return nil, err
	}
	for {
		r, err := d.load(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.State != StateRunning {
			return &r.Job, fmt.Errorf("job %s is %s: %w", id, r.State, ErrEnded)
		}
		r.State = StateCancelled
		if err = d.save(ctx, r); err == nil || !errors.Is(err, jetstream.ErrConflict) {
			return &r.Job, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// newID names a job or a process.
func newID() string { return strings.ToLower(rand.Text()[:10]) }

// forget removes the oldest jobs that have ended.
func (d *desk) forget(ctx context.Context, all []*record) {
	ended := 0
	for _, r := range all {
		if r.State == StateRunning || r.Intent != nil {
			continue
		}
		if ended++; ended > keepJobs {
			_, _ = d.put(ctx, r.ID, nil, r.revision) // the next one tries again
		}
	}
}
