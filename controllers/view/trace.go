package view

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
)

// The headers in which workers say where an output comes from (workers/engine/track).
const (
	headerPosition = "Millrace-Position"
	headerStep     = "Millrace-Step"
)

const (
	// maxRoots bounds how many events with one id are followed.
	maxRoots = 16
	// maxJoined is how many results of a join behind the place of an event are looked at.
	maxJoined = 512
	// skew is how much earlier than its input an output may seem to be stored: the leaders of two streams have two clocks.
	skew = 2 * time.Second
)

// Trace follows the events with an id through all stages.
//
// Where one of them stands is found by time, where the id or the options tell one, and else by looking into the newest messages first
// (see locate). From there the headers of outputs lead back to the ingress, message by message, and forward again: the outputs on
// a subject are in the order of their input, so the one that holds an event is found by a search.
func (v *View) Trace(ctx context.Context, of Name, o TraceOptions) (*Trace, error) {
	if o.ID == "" {
		return nil, fmt.Errorf("the id is empty: %w", ErrInvalid)
	}
	l, c, err := v.open(ctx, of)
	if err != nil {
		return nil, err
	}
	t := &tracer{layout: l, client: c, decoder: newDecoder(), options: o, now: v.now, trace: &Trace{ID: o.ID, Steps: []Step{}}, seen: map[root]bool{}, whole: map[string]bool{}}
	if err := t.run(ctx); err != nil {
		return nil, notFound(err)
	}
	if len(t.trace.Steps) == 0 {
		return nil, fmt.Errorf("event %q of pipeline %s: %w: %s", o.ID, of, ErrNotFound, t.looked())
	}
	return t.trace, nil
}

// root is where an event enters what is still stored.
type root struct {
	port     string
	sequence uint64
	index    int
}

// tracer answers one question.
type tracer struct {
	layout  *Layout
	client  *jetstream.Client
	decoder *decoder
	options TraceOptions
	now     func() time.Time
	trace   *Trace
	seen    map[root]bool
	whole   map[string]bool // streams of which all was looked through
	cut     bool            // not all was looked through in time
	emitted []string        // source and stage of events with the id that a stage stored
}

// at is an event that is stored.
type at struct {
	port *PortLayout
	m    *store.Message
	Stored
	key int // its partition, by its key
	typ string
}

func (t *tracer) run(ctx context.Context) error {
	anchors, err := t.locate(ctx)
	if err != nil {
		return err
	}
	var roots []*at
	for _, a := range anchors {
		r, err := t.back(ctx, a)
		if err != nil {
			return err
		}
		key := root{r.port.String(), r.Sequence, r.Index}
		if !t.seen[key] && len(roots) < maxRoots {
			t.seen[key] = true
			roots = append(roots, r)
		}
	}
	slices.SortStableFunc(roots, func(a, b *at) int {
		return cmp.Or(a.Place.Stored.Compare(b.Place.Stored), cmp.Compare(a.Sequence, b.Sequence))
	})
	for _, r := range roots {
		if err := t.root(ctx, r); err != nil {
			return err
		}
	}
	if len(roots) == 0 {
		return nil
	}
	return t.incidents(ctx, roots[0].Place.Stored)
}

// root tells of an event from where it is known first.
func (t *tracer) root(ctx context.Context, r *at) error {
	step := Step{Stage: PortIngress, Decision: DecisionStored, At: &r.Place, Event: r.Event, Why: r.Error}
	if r.port.Stage != "" {
		step.Stage, step.Port, step.Decision = r.port.Stage, r.port.Port, DecisionEmitted
		if r.port.Format == config.FormatRaw {
			step.Decision = DecisionDead
		}
		step.Why = cmp.Or(r.Error, "the stage made it, or the streams before no longer hold it")
	}
	t.trace.Steps = append(t.trace.Steps, step)
	return t.forward(ctx, r)
}

// incidents finds the insights whose evidence names the event.
func (t *tracer) incidents(ctx context.Context, since time.Time) error {
	if t.layout.Insights == "" {
		return nil
	}
	needle, read := []byte(t.options.ID), 0
	s := store.Stream{Client: t.client, Name: t.layout.Insights}
	err := s.Backward(ctx, store.Range{Since: since.Add(-skew)}, func(m *store.Message) error {
		t.trace.Read++
		if read += len(m.Data); read > scanBytes/4 {
			return store.ErrStop
		}
		port := t.layout.insightsPort(m.Subject)
		if port == nil || !bytes.Contains(m.Data, needle) {
			return nil
		}
		return t.decoder.read(port, m, func(f found) error {
			i := incidentOf(port, m, f)
			if i == nil || slices.ContainsFunc(t.trace.Incidents, func(known IncidentRef) bool { return known.ID == i.ID }) {
				return nil
			}
			if slices.ContainsFunc(i.Evidence, func(e Evidence) bool { return e.EventID == t.options.ID }) {
				t.trace.Incidents = append(t.trace.Incidents, IncidentRef{ID: i.ID, Title: i.Title})
			}
			return nil
		})
	})
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil
	}
	return err
}

// event reads one event of a message; nil when it holds none there.
func (t *tracer) event(port *PortLayout, m *store.Message, index int) *at {
	var a *at
	_ = t.decoder.read(port, m, func(f found) error {
		if f.index == index {
			a = t.atOf(port, m, f)
			return store.ErrStop
		}
		return nil
	})
	return a
}

func (t *tracer) atOf(port *PortLayout, m *store.Message, f found) *at {
	a := &at{port: port, m: m, Stored: port.stored(m, f)}
	if f.event != nil {
		a.key, a.typ = f.event.PartitionOf(max(t.layout.Partitions, 1)), a.Type
	}
	return a
}

// back goes from an event to where it came from, as far as that is stored.
func (t *tracer) back(ctx context.Context, a *at) (*at, error) {
	for range len(t.layout.Stages) + 1 {
		if a.port.Stage == "" {
			return a, nil
		}
		from, seq, index, ok := t.origin(a)
		if !ok {
			return a, nil
		}
		stage, port, _ := cutPort(from)
		p, err := t.layout.Port(stage, port)
		if err != nil || p.Stream == "" {
			return a, nil //nolint:nilerr // the pipeline was another one then
		}
		m, err := store.Stream{Client: t.client, Name: p.Stream}.Get(ctx, seq)
		if err != nil {
			return nil, err
		}
		t.trace.Read++
		if m == nil {
			return a, nil
		}
		before := t.event(p, m, index)
		if before == nil {
			return a, nil
		}
		a = before
	}
	return a, nil
}

// origin is where a stage read an event that it stored; ok is false for one that it made.
func (t *tracer) origin(a *at) (from string, seq uint64, index int, ok bool) {
	out, places := progress.ReadOutput(a.m.Get(headerStep))
	if out == nil {
		return "", 0, 0, false
	}
	if all, made := out.Items.Len(); made > 0 && made < all { // their order among each other is not told
		return "", 0, 0, false
	}
	k := 0
	for it := range out.Items.All() {
		if k == a.Index {
			if it.Made != 0 || it.Input >= len(places) {
				return "", 0, 0, false
			}
			return places[it.Input].From, it.Seq, int(it.Index), true
		}
		k++
	}
	return "", 0, 0, false
}

// forward follows an event to all stages that read its port.
func (t *tracer) forward(ctx context.Context, a *at) error {
	for i := range t.layout.Stages {
		s := &t.layout.Stages[i]
		for k := range s.Inputs {
			if in := &s.Inputs[k]; in.From == a.port.String() && in.Stream != "" && !in.Overflow {
				if err := t.stage(ctx, s, in, a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// stage tells what a stage, and those that run in its workers, did with an event.
func (t *tracer) stage(ctx context.Context, s *StageLayout, in *InputLayout, a *at) error {
	lane := 0
	if s.Lanes > 1 {
		lane = a.Partition
	}
	var next []*at
	for i := range t.layout.Ports {
		p := &t.layout.Ports[i]
		of, err := t.layout.Stage(p.Stage)
		if err != nil || p.Stream == "" || of.Name != s.Name && of.Head != s.Name {
			continue
		}
		out, err := t.output(ctx, p, of, lane, in.From, a)
		if err != nil {
			return err
		}
		if out == nil {
			continue
		}
		next = append(next, out)
		t.emitted = append(t.emitted, a.Source+"\x00"+s.Name)
		t.passed(s, of, a)
		t.trace.Steps = append(t.trace.Steps, stepOf(of, p, a, out))
	}
	if len(next) == 0 {
		step, err := t.nothing(ctx, s, in, lane, a)
		if err != nil {
			return err
		}
		t.trace.Steps = append(t.trace.Steps, step)
	}
	for _, out := range next {
		if out.port.Port == config.PortInsights {
			continue
		}
		if err := t.forward(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// passed tells of the stages between the head of a worker and the one that stored an event: it went through them in memory.
func (t *tracer) passed(head, to *StageLayout, a *at) {
	for n := to; n.Name != head.Name && len(n.Inputs) > 0; {
		name, port, _ := cutPort(n.Inputs[0].From)
		before, err := t.layout.Stage(name)
		if err != nil {
			return
		}
		step := Step{Stage: name, Port: port, Decision: DecisionEmitted, From: &a.Place, Why: "in memory, to stage " + n.Name + " of the same worker: nothing of it is stored"}
		if !slices.ContainsFunc(t.trace.Steps, func(s Step) bool { return s.Stage == name && s.Port == port && s.From != nil && *s.From == a.Place }) {
			t.trace.Steps = append(t.trace.Steps, step)
		}
		n = before
	}
}

func stepOf(s *StageLayout, p *PortLayout, a, out *at) Step {
	waited := Seconds(out.Place.Stored.Sub(a.Place.Stored))
	step := Step{
		Stage: s.Name, Port: p.Port, Decision: DecisionEmitted, At: &out.Place, From: &a.Place, Waited: &waited, Event: out.Event,
		Added: added(a.Event, out.Event),
	}
	switch {
	case p.Format == config.FormatRaw:
		step.Decision, step.Why, step.Added = DecisionDead, out.Error, nil
	case s.Kind == config.KindJoin:
		step.Why = "joined with what came of the event on the other branches"
	}
	return step
}

// output finds what a port holds of an event that the lane of its worker read; nil = nothing.
func (t *tracer) output(ctx context.Context, p *PortLayout, s *StageLayout, lane int, from string, a *at) (*at, error) {
	st := store.Stream{Client: t.client, Name: p.Stream}
	position := progress.Position{Seq: a.Sequence, Index: uint32(a.Index)}
	for _, subject := range t.subjects(p, s, lane, a) {
		first, err := st.Since(ctx, subject, a.Place.Stored.Add(-skew))
		if err != nil || first == nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if s.Kind == config.KindJoin && p.Port == config.PortOut {
			if out, err := t.joined(ctx, st, p, subject, first, a); out != nil || err != nil {
				return out, err
			}
			continue
		}
		state, err := st.State()
		if err != nil {
			return nil, err
		}
		m, err := st.Search(ctx, subject, first.Sequence, state.Last, func(m *store.Message) bool {
			t.trace.Read++
			return reaches(m, from, position)
		})
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		if index, ok := indexOf(m, from, position); ok {
			if out := t.event(p, m, index); out != nil {
				return out, nil
			}
		}
	}
	return nil, nil
}

// joined finds the result of a join at or behind a message. It has the id of the event, and is a new event, whose output need not reach into
// all of its inputs.
func (t *tracer) joined(ctx context.Context, st store.Stream, p *PortLayout, subject string, from *store.Message, a *at) (out *at, err error) {
	name, n := progress.NameOf(a.typ, a.ID), 0
	err = st.Scan(ctx, store.Range{Subject: subject, From: from.Sequence}, func(m *store.Message) error {
		if n++; n > maxJoined {
			return store.ErrStop
		}
		t.trace.Read++
		items, _ := progress.ReadOutput(m.Get(headerStep))
		if items == nil {
			return nil
		}
		for it := range items.Items.All() {
			if it.Made != name {
				continue
			}
			return t.decoder.read(p, m, func(f found) error {
				if f.event != nil && f.event.ID == a.ID {
					out = t.atOf(p, m, f)
					return store.ErrStop
				}
				return nil
			})
		}
		return nil
	})
	return out, err
}

// subjects are those on which a lane stores what leaves on a port, the likeliest first.
func (t *tracer) subjects(p *PortLayout, s *StageLayout, lane int, a *at) []string {
	switch {
	case p.Format == config.FormatCloudEvent:
		return []string{fmt.Sprintf("%s.%s.*.%d", p.Base, p.Stage, lane)}
	case p.Format == config.FormatRaw, !p.Lane && s.Lanes > 1:
		return []string{fmt.Sprintf("%s.%d", p.Base, lane)}
	}
	subjects := make([]string, 0, p.Partitions)
	for i := range max(p.Partitions, 1) {
		q := (a.key + i) % max(p.Partitions, 1)
		if p.Lane {
			subjects = append(subjects, fmt.Sprintf("%s.%d.%d", p.Base, q, lane))
		} else {
			subjects = append(subjects, fmt.Sprintf("%s.%d", p.Base, q))
		}
	}
	return subjects
}

// reaches says whether an output reaches to a place of an input.
func reaches(m *store.Message, from string, at progress.Position) bool {
	for _, r := range progress.ReadReach(m.Get(headerPosition)) {
		if r.From == from && !at.After(r.Position) {
			return true
		}
	}
	return false
}

// indexOf is which event of an output comes from a place of an input.
func indexOf(m *store.Message, from string, at progress.Position) (index int, ok bool) {
	out, places := progress.ReadOutput(m.Get(headerStep))
	if out == nil {
		return 0, false
	}
	for it := range out.Items.All() {
		if it.Made == 0 && it.Seq == at.Seq && it.Index == at.Index && it.Input < len(places) && places[it.Input].From == from {
			return index, true
		}
		index++
	}
	return 0, false
}

// nothing tells of a stage that stored nothing of an event.
func (t *tracer) nothing(ctx context.Context, s *StageLayout, in *InputLayout, lane int, a *at) (Step, error) {
	step := Step{Stage: s.Name, From: &a.Place}
	if lane < len(in.Consumers) {
		c, err := t.client.Consumer(in.Stream, in.Consumers[lane].Durable)
		switch {
		case errors.Is(err, jetstream.ErrNotFound):
			step.Decision, step.Why = DecisionWaiting, "the consumer of the stage does not exist"
			return step, nil
		case err != nil:
			return step, err
		case c.AckFloor < a.Sequence:
			step.Decision, step.Why = DecisionWaiting, fmt.Sprintf("the stage has acknowledged up to message %d of the stream", c.AckFloor)
			return step, nil
		}
	}
	expired, err := t.expired(s, a)
	if err != nil {
		return step, err
	}
	duplicate, err := t.duplicate(ctx, s, in, a)
	if err != nil {
		return step, err
	}
	chained := t.chained(s)
	switch {
	case expired != "":
		step.Decision, step.Why = DecisionExpired, "stream "+expired+" no longer holds what was stored when the event was processed"
	case duplicate:
		step.Decision, step.Why = DecisionDuplicate, "an event with its id and source had come before"
	case s.Kind == config.KindJoin:
		step.Decision, step.Why = DecisionFiltered, "the stage keeps it until the other branches have answered, or it came after that"
	case s.Kind == config.KindCorrelate || s.Kind == config.KindAnalyze || s.Kind == config.KindCompare:
		step.Decision, step.Why = DecisionFiltered, "the stage has taken it into account, and stores only what it finds"
	case s.Kind == config.KindSink:
		step.Decision, step.Why = DecisionEmitted, "stored by the target of the sink"
	case chained != "":
		step.Decision, step.Why = DecisionFiltered, "by this stage or one that runs in its workers ("+chained+"): nothing is stored in between"
	default:
		step.Decision, step.Why = DecisionFiltered, "processed, and nothing stored"
	}
	return step, nil
}

// chained are the stages that run in the workers of a stage, for a message.
func (t *tracer) chained(s *StageLayout) string {
	var names []byte
	for i := range t.layout.Stages {
		if n := &t.layout.Stages[i]; n.Head == s.Name {
			if len(names) > 0 {
				names = append(names, ", "...)
			}
			names = append(names, n.Name...)
		}
	}
	return string(names)
}

// expired names a stream of the outputs of a stage that no longer holds what was stored when an event was read.
func (t *tracer) expired(s *StageLayout, a *at) (string, error) {
	for _, p := range t.layout.PortsOf(s.Name) {
		if p.Stream == "" {
			continue
		}
		state, err := store.Stream{Client: t.client, Name: p.Stream}.State()
		if err != nil {
			return "", err
		}
		if state.First > 1 && state.FirstTime.After(a.Place.Stored) {
			return p.Stream, nil
		}
	}
	return "", nil
}

// cutPort takes the name of a port apart.
func cutPort(name string) (stage, port string, ok bool) {
	if name == PortIngress {
		return "", PortIngress, true
	}
	s, p, ok := bytes.Cut([]byte(name), []byte("/"))
	return string(s), string(p), ok
}

// added are the members of an event that differ from those of another one, by path.
func added(before, after json.RawMessage) map[string]json.RawMessage {
	var old, changed map[string]json.RawMessage
	if json.Unmarshal(before, &old) != nil || json.Unmarshal(after, &changed) != nil {
		return nil
	}
	all := map[string]json.RawMessage{}
	differ("", old, changed, all)
	return all
}

func differ(path string, old, changed map[string]json.RawMessage, all map[string]json.RawMessage) {
	for name, value := range changed {
		was, ok := old[name]
		if ok && bytes.Equal(was, value) {
			continue
		}
		var inside, wasInside map[string]json.RawMessage
		if json.Unmarshal(value, &inside) == nil && inside != nil && (!ok || json.Unmarshal(was, &wasInside) == nil) {
			differ(path+name+".", wasInside, inside, all)
			continue
		}
		all[path+name] = value
	}
	for name := range old {
		if _, ok := changed[name]; !ok {
			all[path+name] = json.RawMessage("null")
		}
	}
}
