package view

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/cel"
)

// View is the Reader of a source.
type View struct {
	source Source
	now    func() time.Time
	cel    *cel.Env
	flows  *flows
	// insights are answers of Incidents.
	insights *shared[[]Incident]
}

// New returns the reader of a source. now is the clock.
func New(source Source, now func() time.Time) (*View, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	v := &View{source: source, now: now, cel: env, insights: newShared[[]Incident](incidentsKept)}
	v.flows = newFlows(v.subject, now)
	return v, nil
}

// Pipelines lists all pipelines, by namespace and name.
func (v *View) Pipelines(ctx context.Context) ([]Pipeline, error) { return v.source.Pipelines(ctx) }

// Layout is where a pipeline is stored.
func (v *View) Layout(ctx context.Context, of Name) (*Layout, error) { return v.source.Layout(ctx, of) }

// open finds a pipeline and its server.
func (v *View) open(ctx context.Context, of Name) (*Layout, *jetstream.Client, error) {
	return Open(ctx, v.source, of)
}

// condition compiles a filter; nil = all events.
func (v *View) condition(filter string) (*cel.Condition, error) {
	if filter == "" {
		return nil, nil
	}
	c, err := v.cel.Condition(filter)
	if err != nil {
		return nil, fmt.Errorf("filter: %w: %w", ErrInvalid, err)
	}
	return &c, nil
}

// portStream is the stream of a port.
func portStream(c *jetstream.Client, p *PortLayout) (store.Stream, error) {
	if p.Stream == "" {
		return store.Stream{}, fmt.Errorf("port %s: %w: no stream stores it, its events go in memory to stages of the same worker", p, ErrInvalid)
	}
	return store.Stream{Client: c, Name: p.Stream}, nil
}

// notFound has a missing stream or message say so in the words of a Reader.
func notFound(err error) error {
	if errors.Is(err, jetstream.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
