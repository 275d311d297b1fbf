package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/view"
)

// Bounds of what one answer shows. What is longer can be downloaded.
const (
	maxText  = 2 << 10
	maxEvent = 16 << 10
	maxBody  = 64 << 10
	maxList  = 500
)

// invalid is a question with a wrong value.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{view.ErrInvalid}, args...)...)
}

// moment reads a time, or a duration before now.
func (c *console) moment(q url.Values, name string) (time.Time, error) {
	at, err := view.Ago(q.Get(name), c.Now())
	if err != nil {
		return at, invalid("%s=%w", name, err)
	}
	return at, nil
}

// number reads a count from 0 to most.
func number(q url.Values, name string, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, invalid("%s=%q: want a number from 0 to %d", name, s, most)
	}
	return n, nil
}

// About is what the pages need to know of the console.
type about struct {
	Version  string    `json:"version"`
	ReadOnly bool      `json:"readOnly"`
	User     string    `json:"user,omitempty"`
	Session  bool      `json:"session,omitempty"` // of the browser: it can sign out
	Now      time.Time `json:"now"`
}

func (c *console) about(r *http.Request) (any, error) {
	user, _ := r.Context().Value(userKey{}).(User)
	return about{Version: c.Version, ReadOnly: c.Editor == nil, User: user.Name, Session: user.Session, Now: c.Now()}, nil
}

// visible are the pipelines of the namespaces whose pipelines who asks may list.
func (c *console) visible(ctx context.Context) ([]view.Pipeline, error) {
	all, err := c.Reader.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	seen := []view.Pipeline{}
	may := map[string]bool{}
	for _, p := range all {
		allowed, known := may[p.Namespace]
		if !known {
			err := c.allowed(ctx, VerbList, view.Name{Namespace: p.Namespace})
			if err != nil && !errors.Is(err, ErrForbidden) {
				return nil, err
			}
			allowed = err == nil
			may[p.Namespace] = allowed
		}
		if allowed {
			seen = append(seen, p)
		}
	}
	return seen, nil
}

func (c *console) pipelines(r *http.Request) (any, error) {
	seen, err := c.visible(r.Context())
	return map[string]any{"pipelines": seen}, err
}

func (c *console) graph(r *http.Request, of view.Name) (*view.Graph, error) {
	return c.Reader.Graph(r.Context(), of)
}

func (c *console) flow(ctx context.Context, _ *http.Request, of view.Name, s *stream) error {
	return c.Reader.Flow(ctx, of, func(f *view.Flow) error { return s.send("flow", f) })
}

// series is the last hour of one stage or edge: At in seconds since 1970, and values beside it, null where not known.
type series struct {
	At     []float64             `json:"at"`
	Values map[string][]*float64 `json:"values"`
}

func (c *console) history(r *http.Request, of view.Name) (*series, error) {
	q := r.URL.Query()
	edge := -1
	if s := q.Get("edge"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, invalid("edge=%q: want its place in the graph, from 0", s)
		}
		edge = n
	}
	stage := q.Get("stage")
	if (edge < 0) == (stage == "") {
		return nil, invalid("give stage, or edge")
	}
	flows, err := c.Reader.History(r.Context(), of)
	if err != nil {
		return nil, err
	}
	g, err := c.Reader.Graph(r.Context(), of)
	if err != nil {
		return nil, err
	}
	out := &series{At: []float64{}, Values: map[string][]*float64{}}
	for _, f := range flows {
		var values map[string]*float64
		if f.Graph == g.Revision { // edges of another graph stand in other places
			values = edgeValues(f, edge)
		}
		if stage != "" {
			values = stageValues(f, stage)
		}
		if values == nil {
			continue
		}
		out.At = append(out.At, float64(f.At.UnixMilli())/1e3)
		for name, v := range values {
			out.Values[name] = append(out.Values[name], v)
		}
	}
	return out, nil
}

func stageValues(f *view.Flow, stage string) map[string]*float64 {
	for i := range f.Stages {
		if s := &f.Stages[i]; s.Stage == stage {
			return map[string]*float64{"p50": seconds(s.P50), "p99": seconds(s.P99), "workers": float(s.Workers), "deadLetters": s.DeadLetters, "processed": s.Processed}
		}
	}
	return nil
}

func edgeValues(f *view.Flow, edge int) map[string]*float64 {
	if edge < 0 || edge >= len(f.Edges) {
		return nil
	}
	e := &f.Edges[edge]
	return map[string]*float64{"events": e.Events, "lag": float(e.Lag), "oldestAge": seconds(e.OldestAge)}
}

func seconds(s *view.Seconds) *float64 {
	if s == nil {
		return nil
	}
	f := time.Duration(*s).Seconds()
	return &f
}

func float[T int | int64 | uint64](n *T) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// stored is an event in a list. Size is set when the event is left out because it is large, in bytes.
type stored struct {
	view.Stored
	Size int `json:"size,omitempty"`
}

func shownEvent(e *view.Stored) stored {
	s := stored{Stored: *e}
	s.Text, s.ID, s.Type, s.Source = view.Cut(s.Text, maxText), view.Cut(s.ID, maxText), view.Cut(s.Type, maxText), view.Cut(s.Source, maxText)
	if n := max(len(e.Event), len(e.Raw)); n > maxEvent {
		s.Event, s.Raw, s.Size = nil, nil, n
	}
	return s
}

// tapOptions reads what to tap.
func (c *console) tapOptions(q url.Values) (view.TapOptions, error) {
	o := view.TapOptions{Filter: q.Get("filter")}
	if port := q.Get("port"); port != "" && port != view.PortIngress {
		o.Stage, o.Port, _ = strings.Cut(port, "/")
	}
	var err error
	if o.Since, err = c.moment(q, "since"); err != nil {
		return o, err
	}
	if o.Until, err = c.moment(q, "until"); err != nil {
		return o, err
	}
	if o.Sample, err = number(q, "sample", 1_000_000); err != nil {
		return o, err
	}
	o.Limit, err = number(q, "limit", 1_000_000)
	return o, err
}

// tap sends the events of a port in batches: a page that draws each of thousands would stand still.
func (c *console) tap(ctx context.Context, r *http.Request, of view.Name, s *stream) error {
	o, err := c.tapOptions(r.URL.Query())
	if err != nil {
		return err
	}
	o.Follow = r.URL.Query().Get("follow") != "false"
	b := &batch{s: s, c: c}
	done := make(chan struct{})
	flushed := make(chan error, 1)
	go func() { flushed <- b.flushEvery(done, 200*time.Millisecond) }()
	err = c.Reader.Tap(ctx, of, o, func(e *view.Stored) error { return b.add(shownEvent(e)) })
	close(done)
	return errors.Join(err, <-flushed)
}

func (c *console) tapped(w *saving, r *http.Request, of view.Name) error {
	o, err := c.tapOptions(r.URL.Query())
	if err != nil {
		return err
	}
	o.Follow = false
	if o.Limit == 0 {
		o.Limit = 100_000
	}
	w.name = "tap.ndjson"
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := c.Reader.Tap(r.Context(), of, o, func(e *view.Stored) error { return encoder.Encode(e) }); err != nil {
		return err
	}
	return w.flush()
}

// events lists events of a port that are stored already.
func (c *console) events(r *http.Request, of view.Name) (any, error) {
	o, err := c.tapOptions(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if o.Limit == 0 || o.Limit > maxList {
		o.Limit = 100
	}
	list := []stored{}
	err = c.Reader.Tap(r.Context(), of, o, func(e *view.Stored) error {
		list = append(list, shownEvent(e))
		return nil
	})
	partial := errors.Is(err, context.DeadlineExceeded) && len(list) > 0
	if partial {
		err = nil
	}
	return map[string]any{"events": list, "partial": partial || len(list) == o.Limit}, err
}

// step is a step of a trace. Size is set when the event is left out because it is large.
type step struct {
	view.Step
	Size int `json:"size,omitempty"`
}

func (c *console) trace(r *http.Request, of view.Name) (any, error) {
	t, err := c.traceOf(r.Context(), r, of)
	if err != nil {
		return nil, err
	}
	steps := make([]step, 0, len(t.Steps))
	for _, s := range t.Steps {
		shown := step{Step: s}
		if len(s.Event) > maxEvent {
			shown.Event, shown.Size = nil, len(s.Event)
		}
		added := map[string]json.RawMessage{}
		for path, value := range s.Added {
			if len(value) > maxText {
				value, _ = json.Marshal(fmt.Sprintf("%d bytes, which the downloaded event has", len(value)))
			}
			added[path] = value
		}
		shown.Added = added
		steps = append(steps, shown)
	}
	return map[string]any{"id": t.ID, "steps": steps, "incidents": t.Incidents, "read": t.Read, "from": t.From}, nil
}

// traceOf follows the event that the query names.
func (c *console) traceOf(ctx context.Context, r *http.Request, of view.Name) (*view.Trace, error) {
	q := r.URL.Query()
	o := view.TraceOptions{ID: q.Get("id")}
	if o.ID == "" {
		return nil, invalid("give id, the id of an event")
	}
	var err error
	if o.Since, err = c.moment(q, "since"); err != nil {
		return nil, err
	}
	if o.Until, err = c.moment(q, "until"); err != nil {
		return nil, err
	}
	return c.Reader.Trace(ctx, of, o)
}

// traced is the event of one step of a trace, whole.
func (c *console) traced(w *saving, r *http.Request, of view.Name) error {
	q := r.URL.Query()
	n, err := number(q, "step", 10_000)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	t, err := c.traceOf(ctx, r, of)
	if err != nil {
		return err
	}
	if n >= len(t.Steps) || t.Steps[n].Event == nil {
		return fmt.Errorf("step %d of event %q: %w", n, q.Get("id"), view.ErrNotFound)
	}
	w.name = "event.json"
	_, err = w.Write(t.Steps[n].Event)
	return err
}

func (c *console) incidentOptions(q url.Values) (view.IncidentOptions, error) {
	o := view.IncidentOptions{Open: q.Get("open") == "true", Namespace: q.Get("namespace"), Entity: q.Get("entity"), Severity: q.Get("severity")}
	var err error
	if o.Since, err = c.moment(q, "since"); err != nil {
		return o, err
	}
	if o.Limit, err = number(q, "limit", maxList); err == nil && o.Limit == 0 {
		o.Limit = 200
	}
	return o, err
}

// incidentRow is an incident in a list: Links counts its evidence.
type incidentRow struct {
	view.Incident
	Links int `json:"links"`
}

func (c *console) incidentRows(ctx context.Context, of view.Name, o view.IncidentOptions) ([]incidentRow, error) {
	list, err := c.Reader.Incidents(ctx, of, o)
	if err != nil {
		return nil, err
	}
	rows := make([]incidentRow, 0, len(list))
	for _, i := range list {
		row := incidentRow{Incident: i, Links: len(i.Evidence)}
		row.Event, row.Evidence = nil, []view.Evidence{}
		row.Title, row.Summary = view.Cut(i.Title, maxText), view.Cut(i.Summary, maxText)
		rows = append(rows, row)
	}
	return rows, nil
}

func (c *console) incidents(r *http.Request, of view.Name) (any, error) {
	o, err := c.incidentOptions(r.URL.Query())
	if err != nil {
		return nil, err
	}
	rows, err := c.incidentRows(r.Context(), of, o)
	return map[string]any{"incidents": rows}, err
}

// incidentsLive sends the list whenever it changed.
func (c *console) incidentsLive(ctx context.Context, r *http.Request, of view.Name, s *stream) error {
	q := r.URL.Query()
	var before []byte
	for {
		o, err := c.incidentOptions(q)
		if err != nil {
			return err
		}
		rows, err := c.incidentRows(ctx, of, o)
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]any{"incidents": rows})
		if err != nil {
			return fmt.Errorf("encode incidents: %w", err)
		}
		if string(body) != string(before) {
			before = body
			if err := s.send("incidents", json.RawMessage(body)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.Refresh):
		}
	}
}

func (c *console) incident(r *http.Request, of view.Name) (*view.Incident, error) {
	list, err := c.Reader.Incidents(r.Context(), of, view.IncidentOptions{})
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	for i := range list {
		if list[i].ID == id {
			return &list[i], nil
		}
	}
	return nil, fmt.Errorf("incident %q: %w; its stream may have dropped it", id, view.ErrNotFound)
}

func (c *console) letters(r *http.Request, of view.Name) (*view.Letters, error) {
	q := r.URL.Query()
	o := view.LetterOptions{Stage: q.Get("stage"), Reason: q.Get("reason"), Filter: q.Get("filter")}
	var err error
	if o.Since, err = c.moment(q, "since"); err != nil {
		return nil, err
	}
	if o.Until, err = c.moment(q, "until"); err != nil {
		return nil, err
	}
	if o.Limit, err = number(q, "limit", maxList); err != nil {
		return nil, err
	}
	if s := q.Get("before"); s != "" {
		if o.Before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return nil, invalid("before=%q: want a sequence", s)
		}
	}
	page, err := c.Reader.DeadLetters(r.Context(), of, o)
	if err != nil {
		return nil, err
	}
	shown := *page
	shown.Letters = make([]view.Letter, 0, len(page.Letters))
	for _, l := range page.Letters {
		l.Error, l.Header, l.Body = view.Cut(l.Error, maxText), nil, nil
		shown.Letters = append(shown.Letters, l)
	}
	if shown.Groups == nil {
		shown.Groups = []view.LetterGroup{}
	}
	return &shown, nil
}

// oneLetter is a dead letter with the beginning of its body; Cut tells that there is more to download.
type oneLetter struct {
	view.Letter
	Cut bool `json:"cut,omitempty"`
}

func (c *console) theLetter(ctx context.Context, r *http.Request, of view.Name) (*view.Letter, error) {
	sequence, err := strconv.ParseUint(r.PathValue("sequence"), 10, 64)
	if err != nil {
		return nil, invalid("%q is no sequence of a dead letter", r.PathValue("sequence"))
	}
	return c.Reader.DeadLetter(ctx, of, sequence)
}

func (c *console) letter(r *http.Request, of view.Name) (*oneLetter, error) {
	l, err := c.theLetter(r.Context(), r, of)
	if err != nil {
		return nil, err
	}
	one := &oneLetter{Letter: *l}
	if len(one.Body) > maxBody {
		one.Body, one.Cut = one.Body[:maxBody], true
	}
	return one, nil
}

func (c *console) letterBody(w *saving, r *http.Request, of view.Name) error {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	l, err := c.theLetter(ctx, r, of)
	if err != nil {
		return err
	}
	w.name = "dead-letter-" + strconv.FormatUint(l.Sequence, 10)
	_, err = w.Write(l.Body)
	return err
}
