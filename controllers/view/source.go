package view

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// Server says where NATS is, and as whom to connect.
type Server = jetstream.Server

// Source says which pipelines there are, and where they are stored. Its methods may be called at the same time.
type Source interface {
	// Pipelines lists them by namespace and name.
	Pipelines(ctx context.Context) ([]Pipeline, error)
	// Layout is where a pipeline is stored; ErrNotFound when there is none of the name.
	Layout(ctx context.Context, of Name) (*Layout, error)
	// Client is connected to the NATS server of a pipeline. It belongs to the source.
	Client(ctx context.Context, of Name) (*jetstream.Client, error)
}

// Opener is a Source that finds layout and server of a pipeline in one look, so that they belong together.
type Opener interface {
	Open(ctx context.Context, of Name) (*Layout, *jetstream.Client, error)
}

// Open finds a pipeline of a source, and its server.
func Open(ctx context.Context, source Source, of Name) (*Layout, *jetstream.Client, error) {
	if opener, ok := source.(Opener); ok {
		return opener.Open(ctx, of)
	}
	l, err := source.Layout(ctx, of)
	if err != nil {
		return nil, nil, err
	}
	c, err := source.Client(ctx, of)
	if err != nil {
		return nil, nil, err
	}
	return l, c, nil
}

// NewPool makes connections of a reader: they listen on the inbox of the role viewer, and ask for nothing by themselves.
func NewPool(name string) *jetstream.Pool {
	return jetstream.NewPool(jetstream.PoolOptions{
		Name: name, Inbox: plan.ViewerInbox, Deaf: true, Patience: 10 * time.Second, RequestTimeout: 10 * time.Second,
	})
}

// Plans are the pipelines of some plans, on one server.
type Plans struct {
	server Server
	pool   *jetstream.Pool
	all    map[Name]*Layout
}

// NewPlans makes a source of plans: those of files, or of a run. End it with Close. The domain is that of the server, where it names one, and else
// that of the plan.
func NewPlans(server Server, plans ...*plan.Plan) *Plans {
	s := &Plans{server: server, pool: NewPool("millrace-view"), all: map[Name]*Layout{}}
	for _, p := range plans {
		l := LayoutOf(p)
		s.all[l.Name] = l
		if s.server.Domain == "" && s.server.InProcess == nil && len(p.Stages) > 0 { // a server in this process has none
			s.server.Domain = p.Stages[0].Config.NATS.JetStreamDomain
		}
	}
	return s
}

// Close ends the connections.
func (s *Plans) Close() { s.pool.Close() }

// Pipelines lists them. All are ready: nobody knows better.
func (s *Plans) Pipelines(context.Context) ([]Pipeline, error) {
	all := make([]Pipeline, 0, len(s.all))
	for _, l := range s.all {
		all = append(all, Pipeline{Name: l.Name, Ready: true, Stages: len(l.Stages)})
	}
	SortPipelines(all)
	return all, nil
}

// SortPipelines sorts by namespace and name.
func SortPipelines(all []Pipeline) {
	slices.SortFunc(all, func(a, b Pipeline) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
}

// Layout is that of a plan.
func (s *Plans) Layout(_ context.Context, of Name) (*Layout, error) {
	if l := s.all[of]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("pipeline %s: %w", of, ErrNotFound)
}

// Client is connected to the one server.
func (s *Plans) Client(context.Context, Name) (*jetstream.Client, error) {
	return s.pool.Client(s.server)
}
