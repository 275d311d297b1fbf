package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"millrace.dev/millrace/controllers/view"
)

const (
	// summarized is how many pipelines the list measures; of others it says whether they are ready.
	summarized = 32
	// countEvery is the time between counts of insights and dead letters for the list.
	countEvery = 10 * time.Second
	// relist is the time between looks at which pipelines there are.
	relist = 10 * time.Second
)

// summary is one row of the list. What is null is not known, or not yet.
type summary struct {
	view.Pipeline
	Events      *float64      `json:"events,omitempty"` // per second, stored at the ingress
	Lag         *int64        `json:"lag,omitempty"`    // of all stages
	P99         *view.Seconds `json:"p99,omitempty"`    // of the slowest stage
	Open        *int          `json:"open,omitempty"`   // incidents
	DeadLetters *int          `json:"deadLetters,omitempty"`
	// Health is the worst of the stages, and Why what it says.
	Health string `json:"health,omitempty"`
	Why    string `json:"why,omitempty"`
	// Problem says what could not be read.
	Problem string `json:"problem,omitempty"`
}

// overview watches all pipelines for one page.
type overview struct {
	c *console

	mu   sync.Mutex
	rows map[view.Name]*summary
	stop map[view.Name]context.CancelFunc
}

// summaries sends the list, at once and then as often as flows are read.
func (c *console) summaries(ctx context.Context, _ *http.Request, s *stream) error {
	o := &overview{c: c, rows: map[view.Name]*summary{}, stop: map[view.Name]context.CancelFunc{}}
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listed time.Time
	var order []view.Name
	for {
		if now := c.Now(); now.Sub(listed) >= relist {
			seen, err := c.visible(ctx)
			if err != nil {
				return err
			}
			listed = now
			order = o.take(ctx, &watching, seen)
		}
		if err := s.send("pipelines", map[string]any{"pipelines": o.list(order)}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(view.FlowInterval):
		}
	}
}

// take begins to watch pipelines that are new, and ends with those that are gone.
func (o *overview) take(ctx context.Context, watching *sync.WaitGroup, seen []view.Pipeline) []view.Name {
	o.mu.Lock()
	defer o.mu.Unlock()
	var order []view.Name
	for _, p := range seen {
		order = append(order, p.Name)
		if row := o.rows[p.Name]; row != nil {
			row.Pipeline = p
			continue
		}
		o.rows[p.Name] = &summary{Pipeline: p}
		if len(o.stop) >= summarized {
			continue
		}
		each, stop := context.WithCancel(ctx)
		o.stop[p.Name] = stop
		watching.Go(func() { o.flow(each, p.Name) })
		watching.Go(func() { o.count(each, p.Name) })
	}
	for name := range o.rows {
		if !slices.Contains(order, name) {
			if stop := o.stop[name]; stop != nil {
				stop()
			}
			delete(o.rows, name)
			delete(o.stop, name)
		}
	}
	return order
}

func (o *overview) list(order []view.Name) []summary {
	o.mu.Lock()
	defer o.mu.Unlock()
	rows := make([]summary, 0, len(order))
	for _, name := range order {
		rows = append(rows, *o.rows[name])
	}
	return rows
}

// set changes a row, if it is still there.
func (o *overview) set(of view.Name, change func(*summary)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if row := o.rows[of]; row != nil {
		change(row)
	}
}

// flow keeps rate, lag and latency of a row until ctx ends.
func (o *overview) flow(ctx context.Context, of view.Name) {
	for ctx.Err() == nil {
		err := o.follow(ctx, of)
		if err != nil && ctx.Err() == nil {
			o.set(of, func(s *summary) { s.Problem = view.Cut(err.Error(), maxText) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(relist):
		}
	}
}

func (o *overview) follow(ctx context.Context, of view.Name) error {
	g, err := o.c.Reader.Graph(ctx, of)
	if err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	return o.c.Reader.Flow(ctx, of, func(f *view.Flow) error {
		o.set(of, func(s *summary) { s.measure(g, f) })
		return nil
	})
}

// measure takes the numbers of a row from a flow.
func (s *summary) measure(g *view.Graph, f *view.Flow) {
	s.Events, s.Lag, s.P99, s.Health, s.Why, s.Problem = nil, nil, nil, "", "", ""
	for i := range f.Edges {
		if i >= len(g.Edges) {
			break
		}
		// Several stages may read the ingress: each edge has the same events.
		if e := &f.Edges[i]; g.Edges[i].From == view.PortIngress && e.Events != nil {
			s.Events = e.Events
		}
		if lag := f.Edges[i].Lag; lag != nil {
			sum := *lag
			if s.Lag != nil {
				sum += *s.Lag
			}
			s.Lag = &sum
		}
	}
	for i := range f.Stages {
		stage := &f.Stages[i]
		if stage.P99 != nil && (s.P99 == nil || *stage.P99 > *s.P99) {
			s.P99 = stage.P99
		}
		if severity(stage.Health) > severity(s.Health) {
			s.Health, s.Why = stage.Health, stage.Stage+": "+stage.Why
			if stage.Why == "" {
				s.Why = ""
			}
		}
	}
	if len(f.Problems) > 0 {
		s.Problem = view.Cut(f.Problems[0], maxText)
	}
}

// severity orders healths.
func severity(health string) int {
	return slices.Index([]string{view.HealthOK, view.HealthUnknown, view.HealthSlow, view.HealthStuck, view.HealthFailing}, health) + 1
}

// count keeps the open incidents and the dead letters of the last hour of a row until ctx ends.
func (o *overview) count(ctx context.Context, of view.Name) {
	for {
		if incidents, err := o.c.Reader.Incidents(ctx, of, view.IncidentOptions{Open: true}); err == nil {
			n := len(incidents)
			o.set(of, func(s *summary) { s.Open = &n })
		}
		letters, err := o.c.Reader.DeadLetters(ctx, of, view.LetterOptions{Since: o.c.Now().Add(-time.Hour), Limit: 1})
		if err == nil {
			n := 0
			for _, g := range letters.Groups {
				n += g.Count
			}
			o.set(of, func(s *summary) { s.DeadLetters = &n })
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(countEvery):
		}
	}
}
