package view

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// Recorded are the pipelines of a NATS server, as the metadata of its ingress streams say: whoever makes the streams records the graph there.
type Recorded struct {
	server Server
	pool   *jetstream.Pool

	mu      sync.Mutex
	layouts map[Name]recordedLayout
}

// recordedLayout is what was read before.
type recordedLayout struct {
	jetstream.Graph

	layout *Layout
}

// NewRecorded makes a source of what a server has recorded. End it with Close.
func NewRecorded(server Server) *Recorded {
	return &Recorded{server: server, pool: NewPool("millrace-view"), layouts: map[Name]recordedLayout{}}
}

// Close ends the connections.
func (r *Recorded) Close() { r.pool.Close() }

// Pipelines lists them. All are ready: nobody knows better. One whose record cannot be read is not, and says why.
func (r *Recorded) Pipelines(context.Context) ([]Pipeline, error) {
	graphs, err := r.graphs()
	if err != nil {
		return nil, err
	}
	all := []Pipeline{}
	for _, g := range graphs {
		l, err := decodeLayout(g)
		if err != nil {
			all = append(all, Pipeline{Name: Name{Name: g.Stream}, Reason: "Unreadable", Message: err.Error()})
			continue
		}
		all = append(all, Pipeline{Name: l.Name, Ready: true, Stages: len(l.Stages)})
	}
	SortPipelines(all)
	return all, nil
}

// Layout is the recorded one.
func (r *Recorded) Layout(_ context.Context, of Name) (*Layout, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.layouts[of]; ok {
		if l, err := r.again(was); l != nil || err != nil {
			return l, err
		}
	}
	graphs, err := r.graphs()
	if err != nil {
		return nil, err
	}
	var match []recordedLayout
	var unreadable error
	for _, g := range graphs {
		l, err := decodeLayout(g)
		switch {
		case err != nil:
			unreadable = err
		case l.Name == of:
			match = append(match, recordedLayout{g, l})
		}
	}
	switch len(match) {
	case 0:
		err := fmt.Errorf("pipeline %s: %w: no stream of the server records it; name the manifest with -f, or the cluster with --kubeconfig", of, ErrNotFound)
		if unreadable != nil {
			err = fmt.Errorf("%w (%w)", err, unreadable)
		}
		return nil, err
	case 1:
		r.layouts[of] = match[0]
		return match[0].layout, nil
	}
	return nil, fmt.Errorf("pipeline %s: %w: streams %s and %s record one of this name; name the manifest, or the cluster", of, ErrInvalid, match[0].Stream, match[1].Stream)
}

// again reads the record of a stream that is known; nil when it is there no more.
func (r *Recorded) again(was recordedLayout) (*Layout, error) {
	c, err := r.pool.Client(r.server)
	if err != nil {
		return nil, err
	}
	g, err := c.Graph(was.Stream)
	switch {
	case errors.Is(err, jetstream.ErrNotFound), err == nil && g.Text == "":
		delete(r.layouts, was.layout.Name)
		return nil, nil //nolint:nilnil // the caller looks for another one
	case err != nil:
		return nil, err
	case g.Text == was.Text:
		return was.layout, nil
	}
	l, err := decodeLayout(g)
	if err != nil {
		return nil, err
	}
	if l.Name != was.layout.Name {
		delete(r.layouts, was.layout.Name)
		return nil, nil //nolint:nilnil // the caller looks for another one
	}
	r.layouts[l.Name] = recordedLayout{g, l}
	return l, nil
}

// Client is connected to the one server.
func (r *Recorded) Client(context.Context, Name) (*jetstream.Client, error) {
	return r.pool.Client(r.server)
}

func (r *Recorded) graphs() ([]jetstream.Graph, error) {
	c, err := r.pool.Client(r.server)
	if err != nil {
		return nil, err
	}
	return c.Graphs()
}

func decodeLayout(g jetstream.Graph) (*Layout, error) {
	p, err := plan.DecodeGraph(g.Text)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", g.Stream, err)
	}
	return LayoutOf(p), nil
}
