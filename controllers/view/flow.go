package view

import "context"

// WorkerCounter is a Source that knows the workers of stages. What it does not name is looked up in the leases of the workers.
type WorkerCounter interface {
	// Workers are those of a pipeline, by stage.
	Workers(ctx context.Context, of Name) (map[string]WorkersOf, error)
}

// Flow calls f with what flows, at once and then every FlowInterval.
func (v *View) Flow(ctx context.Context, of Name, f func(*Flow) error) error {
	return v.flows.watch(ctx, of, f)
}

// History is the flow of the last hour.
func (v *View) History(ctx context.Context, of Name) ([]*Flow, error) {
	if _, err := v.source.Layout(ctx, of); err != nil {
		return nil, err
	}
	return v.flows.past(of), nil
}

// subject is what readings of a pipeline are of.
func (v *View) subject(ctx context.Context, of Name) (*subject, error) {
	l, c, err := v.open(ctx, of)
	if err != nil {
		return nil, err
	}
	s := &subject{layout: l, client: c}
	if counter, ok := v.source.(WorkerCounter); ok {
		s.workers = func(ctx context.Context) (map[string]WorkersOf, error) { return counter.Workers(ctx, of) }
	}
	return s, nil
}
