package view

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
)

// The bounds of a reading. A pipeline with many ports gives fewer messages of each.
const (
	// requestsAtOnce bounds the requests under way.
	requestsAtOnce = 8
	// sampledMessages is of how many messages a reading looks at in all, and perPort of one port at most.
	sampledMessages, perPort = 64, 8
	// sampledBytes is about what the messages of one port have at most that are looked at.
	sampledBytes = 256 << 10
	// readingTimeout bounds a reading: what was not answered by then is a problem.
	readingTimeout = 5 * time.Second
	// maxProblems bounds what a reading says.
	maxProblems = 16
)

// WorkersOf is how many workers of a stage there are and are to be; nil = not known.
type WorkersOf struct{ Have, Wanted *int }

// subject is what a reading is of.
type subject struct {
	layout *Layout
	client *jetstream.Client
	// workers asks whoever starts the workers; nil = nobody knows. Stages that it does not name are looked up in the leases.
	workers func(ctx context.Context) (map[string]WorkersOf, error)
}

// probe makes readings of one pipeline. One goroutine uses it. What it remembers of a stream, port or stage goes by name, so
// that the layout may change between two readings.
type probe struct {
	streams   map[string]streamSeen
	ports     map[string]*portSeen
	consumers map[string]map[string]jetstream.ConsumerState // by stream and durable
	stages    map[string]*stageSeen
	tables    map[string]tableSeen
	oldest    map[string]sampled // by input
	turn      int
}

func newProbe() *probe {
	return &probe{
		streams: map[string]streamSeen{}, ports: map[string]*portSeen{}, consumers: map[string]map[string]jetstream.ConsumerState{},
		stages: map[string]*stageSeen{}, tables: map[string]tableSeen{}, oldest: map[string]sampled{},
	}
}

// streamSeen is a stream at a reading.
type streamSeen struct {
	jetstream.StreamState
	ports  int               // that it holds
	counts map[string]uint64 // messages of each, where there are several
}

// tableSeen is a table of leases: sequence of its version, and since when it is the newest.
type tableSeen struct {
	sequence uint64
	since    time.Time
	workers  int
	breakers config.Breakers
}

// portSeen is a port.
type portSeen struct {
	// sizes are the numbers of events of the messages that were looked at last.
	sizes ring[int64]
	// count is how many messages it had in the stream at the reading before.
	count  uint64
	newest []sampled // of this reading
	rate   *float64
}

// reading is one reading in the making.
type reading struct {
	*probe
	*subject
	now time.Time // by the clock of this process

	mu       sync.Mutex
	problems map[string]bool
	streams  map[string]streamSeen
	lists    map[string]map[string]jetstream.ConsumerState
	tables   map[string]tableSeen
	starts   map[string]WorkersOf
	oldest   map[string]sampled // by input
}

// read makes one reading. Its error is that of ctx alone: what could not be read is in the problems.
func (p *probe) read(ctx context.Context, s *subject, now time.Time) (*Flow, error) {
	r := &reading{
		probe: p, subject: s, now: now, problems: map[string]bool{}, streams: map[string]streamSeen{}, lists: map[string]map[string]jetstream.ConsumerState{},
		tables: map[string]tableSeen{}, starts: map[string]WorkersOf{}, oldest: map[string]sampled{},
	}
	within, cancel := context.WithTimeout(ctx, readingTimeout)
	defer cancel()
	r.together(within, r.askStates)
	r.countPorts()
	r.together(within, r.askMessages)
	r.together(within, r.askInputs)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := r.flow()
	maps.Copy(p.streams, r.streams)
	maps.Copy(p.consumers, r.lists)
	maps.Copy(p.tables, r.tables)
	p.oldest = r.oldest
	return f, nil
}

// together makes requests, some at a time.
func (r *reading) together(ctx context.Context, ask func(do func(func(context.Context) error))) {
	var g errgroup.Group
	g.SetLimit(requestsAtOnce)
	ask(func(f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil {
				r.problem(err)
			}
			return nil
		})
	})
	_ = g.Wait()
}

func (r *reading) problem(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems[err.Error()] = true
}

func (r *reading) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// askStates asks for streams, consumers, leases and workers.
func (r *reading) askStates(do func(func(context.Context) error)) {
	if r.workers != nil {
		do(func(ctx context.Context) error {
			all, err := r.workers(ctx)
			r.set(func() { maps.Copy(r.starts, all) })
			return err
		})
	}
	do(r.askLeases)
	read := map[string]bool{}
	for i := range r.layout.Stages {
		for _, in := range r.layout.Stages[i].Inputs {
			read[in.Stream] = in.Stream != "" || read[in.Stream]
		}
	}
	for _, name := range r.layout.Streams {
		ports := r.portsIn(name)
		do(func(ctx context.Context) error {
			subjects := ""
			if len(ports) > 1 {
				subjects = ">"
			}
			s, err := r.client.State(ctx, name, subjects)
			if err == nil {
				seen := streamSeen{s, len(ports), countsOf(s.Subjects, ports)}
				seen.Subjects = nil // the counts are what is remembered
				r.set(func() { r.streams[name] = seen })
			}
			return err
		})
		if read[name] {
			do(func(ctx context.Context) error {
				all, err := r.client.ConsumerStates(ctx, name)
				if err == nil {
					r.set(func() { r.lists[name] = all })
				}
				return err
			})
		}
	}
}

// portsIn are the ports that share a stream.
func (r *reading) portsIn(stream string) (all []*PortLayout) {
	for _, p := range r.allPorts() {
		if p.Stream == stream {
			all = append(all, p)
		}
	}
	return all
}

// countsOf is how many messages each of several ports has. Most subjects are told apart by how they begin.
func countsOf(subjects map[string]uint64, ports []*PortLayout) map[string]uint64 {
	if len(ports) < 2 {
		return nil
	}
	counts := make(map[string]uint64, len(ports))
	for _, p := range ports {
		begin, key := p.Base+".", p.String()
		for subject, n := range subjects {
			if strings.HasPrefix(subject, begin) && matches(p.Subject, subject) {
				counts[key] += n
			}
		}
	}
	return counts
}

func (r *reading) allPorts() []*PortLayout {
	all := []*PortLayout{&r.layout.Ingress}
	for i := range r.layout.Ports {
		all = append(all, &r.layout.Ports[i])
	}
	return all
}

// askLeases reads the tables of all stages in one request. A local run has none.
func (r *reading) askLeases(ctx context.Context) error {
	if r.layout.Leases.Bucket == "" {
		return nil
	}
	_, err := r.client.Direct(ctx, r.layout.Leases.Stream(), jetstream.Direct{LastFor: []string{r.layout.Leases.Key("*")}}, func(m *jetstream.Message) error {
		stage := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		b := config.ParseBreakers(m.Data)
		seen := tableSeen{sequence: m.Sequence, since: r.now, workers: b.All, breakers: b}
		if before, ok := r.probe.tables[stage]; ok && before.sequence == m.Sequence {
			seen.since = before.since
		}
		r.set(func() { r.tables[stage] = seen })
		return nil
	})
	if jetstream.NobodyAnswers(err) { // the states of the streams say whether JetStream is there
		return nil
	}
	return err
}

// countPorts finds out how many messages each port was given since the reading before.
func (r *reading) countPorts() {
	for _, p := range r.allPorts() {
		s, ok := r.streams[p.Stream]
		if !ok {
			continue
		}
		seen := r.probe.ports[p.String()]
		if seen == nil {
			seen = &portSeen{}
			r.probe.ports[p.String()] = seen
		}
		seen.newest, seen.rate = nil, nil
		seen.count = s.count(p)
	}
}

// count is how many messages of a port the stream holds.
func (s *streamSeen) count(p *PortLayout) uint64 {
	if s.ports <= 1 {
		return s.Messages
	}
	return s.counts[p.String()]
}

// stored is how many messages were stored on a port between two readings of its stream. Of a stream that several ports share, messages
// that were removed meanwhile are those of its ports in proportion.
func stored(before, now *streamSeen, p *PortLayout) float64 {
	if now.ports <= 1 {
		return float64(now.Last - before.Last)
	}
	had, have := float64(before.count(p)), float64(now.count(p))
	removed := float64(now.Last-before.Last) + float64(before.Messages) - float64(now.Messages)
	if removed <= 0 || before.Messages == 0 {
		return max(have-had, 0)
	}
	return max(have-had+removed*had/float64(before.Messages), 0)
}

// askMessages looks at some of the messages that ports were given since the reading before, and at the oldest one that each input waits for.
func (r *reading) askMessages(do func(func(context.Context) error)) {
	ports := r.allPorts()
	each := min(max(sampledMessages/max(len(ports), 1), 2), perPort)
	r.turn++
	for i, p := range ports {
		if s, ok := r.streams[p.Stream]; ok && s.Messages > 0 && r.hasTurn(i, len(ports), r.probe.ports[p.String()].mean() > 0) {
			r.sample(do, p, s, each)
		}
	}
	for i := range r.layout.Stages {
		st := &r.layout.Stages[i]
		for k := range st.Inputs {
			in := &st.Inputs[k]
			list := r.lists[in.Stream]
			if list == nil || outstanding(list, in) == 0 {
				continue
			}
			if was, known := r.probe.oldest[inputKey(st.Name, in)]; !r.hasTurn(i, len(r.layout.Stages), known) {
				r.set(func() { r.oldest[inputKey(st.Name, in)] = was })
				continue
			}
			do(func(ctx context.Context) error {
				m, err := r.oldestOf(ctx, in, list)
				if err == nil && m.sequence > 0 {
					r.set(func() { r.oldest[inputKey(st.Name, in)] = m })
				}
				return err
			})
		}
	}
}

// turns is about how many ports, and how many stages, a reading looks at messages of. Those of larger pipelines take turns.
const turns = 32

// hasTurn says whether a reading looks at messages of the i-th of n. What is not known yet does not wait.
func (r *reading) hasTurn(i, n int, known bool) bool {
	every := (n + turns - 1) / turns
	return !known || i%every == r.turn%every
}

func inputKey(stage string, in *InputLayout) string { return in.From + ">" + stage }

func outstanding(list map[string]jetstream.ConsumerState, in *InputLayout) (n uint64) {
	for _, c := range in.Consumers {
		n += list[c.Durable].Outstanding
	}
	return n
}

// sample looks at new messages of a port, or at its newest one when nobody has looked before.
func (r *reading) sample(do func(func(context.Context) error), p *PortLayout, s streamSeen, n int) {
	seen := r.probe.ports[p.String()]
	before, known := r.probe.streams[p.Stream]
	known = known && before.Created.Equal(s.Created) && before.Last <= s.Last
	if seen.count == 0 || known && stored(&before, &s, p) < 0.5 && len(seen.sizes.all) > 0 {
		return
	}
	do(func(ctx context.Context) error {
		var all []sampled
		var err error
		if known && len(seen.sizes.all) > 0 {
			from := max(before.Last+1, s.First)
			if span := s.Last + 1 - from; s.ports <= 1 && span > uint64(n) {
				from += rand.Uint64N(span - uint64(n) + 1)
			}
			_, err = r.client.Direct(ctx, p.Stream, jetstream.Direct{Seq: from, Subject: p.Subject, Batch: n, MaxBytes: sampledBytes}, func(m *jetstream.Message) error {
				all = append(all, sampledOf(m))
				return nil
			})
		} else {
			var m *jetstream.Message
			if m, err = r.client.Newest(ctx, p.Stream, p.Subject); m != nil {
				all = append(all, sampledOf(m))
			}
		}
		r.set(func() {
			seen.newest = all
			for _, m := range all {
				seen.sizes.add(m.events, sizesKept)
			}
		})
		return err
	})
}

// sizesKept is of how many messages of a port the mean number of events is taken.
const sizesKept = 32

// mean is how many events a message of the port holds; 0 when it is not known.
func (p *portSeen) mean() float64 {
	if p == nil || len(p.sizes.all) == 0 {
		return 0
	}
	var sum int64
	for _, n := range p.sizes.all {
		sum += n
	}
	return float64(sum) / float64(len(p.sizes.all))
}

// lanesAsked bounds of how many lanes of an input, and of how many lanes in all, about, the oldest message is looked for.
const lanesAsked, lanesAskedInAll = 4, 128

// oldestOf is the oldest message that an input waits for. A lane whose floor is behind a message that was found has no older one.
func (r *reading) oldestOf(ctx context.Context, in *InputLayout, list map[string]jetstream.ConsumerState) (oldest sampled, err error) {
	var lanes []ConsumerLayout
	for _, c := range in.Consumers {
		if list[c.Durable].Outstanding > 0 {
			lanes = append(lanes, c)
		}
	}
	slices.SortFunc(lanes, func(a, b ConsumerLayout) int {
		return int(min(max(int64(list[a.Durable].Floor)-int64(list[b.Durable].Floor), -1), 1))
	})
	asked := min(max(lanesAskedInAll/len(r.layout.Stages), 1), lanesAsked)
	for i, c := range lanes {
		floor := list[c.Durable].Floor
		if i == asked || oldest.sequence > 0 && floor+1 >= oldest.sequence {
			break
		}
		m, err := r.client.First(ctx, in.Stream, c.Filter, floor+1)
		if err != nil {
			return oldest, err
		}
		if m != nil && (oldest.sequence == 0 || m.Sequence < oldest.sequence) { // else removed meanwhile
			oldest = sampledOf(m)
		}
	}
	return oldest, nil
}

// sampled is what a reading keeps of a stored message.
type sampled struct {
	sequence uint64
	stored   time.Time
	events   int64 // 0 for a message that says only how far its writer is
	position string
}

func sampledOf(m *jetstream.Message) sampled {
	s := sampled{sequence: m.Sequence, stored: m.Stored, events: jetstream.Events(m.Header, m.Data)}
	if p := m.Header[headerPosition]; len(p) > 0 {
		s.position = p[0]
	}
	return s
}

// place is what an output was made of.
type place struct {
	stream   string
	sequence uint64
	due      time.Time // of the flush that made it; zero = the message itself did
}

// madeOf reads which messages an output was made of by the workers of a stage.
func madeOf(head *StageLayout, position string) (all []place) {
	for _, at := range progress.ReadReach(position) {
		for _, in := range head.Inputs {
			if in.From != at.From || in.Stream == "" || at.Seq == 0 {
				continue
			}
			p := place{stream: in.Stream, sequence: at.Seq}
			if at.Tick > 0 && at.Tick < progress.FinalTick {
				p.due = time.UnixMilli(at.Tick)
			}
			all = append(all, p)
		}
	}
	return all
}

// askInputs finds out when the messages were stored that the sampled outputs were made of.
func (r *reading) askInputs(do func(func(context.Context) error)) {
	budget := sampledMessages
	each := max(sampledMessages/max(len(r.layout.Stages), 1), 1)
	for i := range r.layout.Stages {
		s := &r.layout.Stages[i]
		head := s
		if s.Head != "" {
			if at, err := r.layout.Stage(s.Head); err == nil {
				head = at
			}
		}
		seen := r.probe.stage(s.Name)
		left := min(each, perPort)
		for _, p := range r.layout.PortsOf(s.Name) {
			if p.Port == config.PortDeadLetter || p.Port == config.PortOverflow || p.Stream == "" {
				continue
			}
			for _, m := range r.probe.ports[p.String()].messages() {
				made := madeOf(head, m.position)
				if m.events == 0 || len(made) == 0 || left == 0 || budget == 0 {
					continue
				}
				left, budget = left-1, budget-1
				do(func(ctx context.Context) error { return r.latency(ctx, seen, m, made) })
			}
		}
	}
}

func (p *portSeen) messages() []sampled {
	if p == nil {
		return nil
	}
	return p.newest
}

// latency notes how long an output took: since the newest message that it was made of was stored, or the flush was due.
func (r *reading) latency(ctx context.Context, seen *stageSeen, m sampled, made []place) error {
	var from time.Time
	for _, p := range made {
		in, err := r.client.Get(ctx, p.stream, p.sequence)
		if err != nil {
			return err
		}
		if in == nil { // expired
			continue
		}
		for _, t := range []time.Time{in.Stored, p.due} {
			if t.After(from) && !t.After(m.stored) {
				from = t
			}
		}
	}
	if !from.IsZero() {
		r.set(func() { seen.latencies.add(timed{r.now, m.stored.Sub(from), m.events}, latenciesKept) })
	}
	return nil
}

// problemTexts are the problems, in a stable order and not too many.
func (r *reading) problemTexts() []string {
	all := slices.Sorted(maps.Keys(r.problems))
	if len(all) > maxProblems {
		all = append(all[:maxProblems], fmt.Sprintf("and %d more", len(all)-maxProblems))
	}
	return all
}
