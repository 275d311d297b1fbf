package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/test/rig"
)

// startPipeline starts the product: a worker for each stage.
func startPipeline(ctx context.Context, t *trial) error {
	t.lastStream, t.filters = t.streamOf(t.read), map[string]string{}
	last := t.last
	if t.chained {
		last = []string{validateStage} // which acknowledges when all of them have stored
	}
	for _, stage := range last {
		for _, c := range t.rig.Stage(stage).Consumers {
			t.filters[c.Durable] = c.FilterSubject
		}
	}
	return t.rig.StartAll(ctx)
}

// chain has all stages run with the first one.
func chain(p *v1alpha1.Pipeline) {
	for i := range p.Spec.Stages {
		s := &p.Spec.Stages[i]
		if s.Name == validateStage || s.Name == enrichStage {
			s.Output = v1alpha1.PortSpec{} // read in memory alone
		}
		if i > 0 {
			s.Placement, s.Workers = &v1alpha1.PlacementSpec{With: p.Spec.Stages[0].Name}, v1alpha1.WorkersSpec{}
		}
	}
}

// withoutRuns switches runs off.
func withoutRuns(p *v1alpha1.Pipeline) { correlateOf(p).Runs = nil }

// allOn switches on what the sample has off and what needs no model: patterns.
func allOn(p *v1alpha1.Pipeline) { correlateOf(p).Patterns = &v1alpha1.PatternsSpec{} }

// correlateOf is what correlate does in the sample.
func correlateOf(p *v1alpha1.Pipeline) *v1alpha1.CorrelateSpec {
	i := slices.IndexFunc(p.Spec.Stages, func(s v1alpha1.PipelineStage) bool { return s.Name == correlateStage })
	return p.Spec.Stages[i].Correlate
}

// streamOf is the stream from which the events of a stage are counted: what it stores, or, in a
// chain, what the chain reads.
func (t *trial) streamOf(stage string) string {
	if t.chained {
		return t.rig.Plan().Ingress.Name
	}
	return t.rig.Output(stage, "out").Stream
}

// workersOf are the workers that run a stage.
func (t *trial) workersOf(stage string) []*rig.Worker {
	if t.chained {
		stage = validateStage
	}
	return t.rig.Running(stage)
}

// warm publishes the events of the warm-up and waits until they are through.
func (t *trial) warm(ctx context.Context) error {
	p, err := newPublisher(t.rig.Conn(), ingressSubject, frameWindow)
	if err != nil {
		return err
	}
	l := load{messages: &t.warmUp.frames, perMessage: perFrame, events: warmUpEvents, atMost: time.Minute}
	if t.load.perMessage == 1 {
		l.messages, l.perMessage = &t.warmUp.lines, 1
		l.events /= 10 // single events may be slow
	}
	n, err := p.run(ctx, l)
	if err != nil {
		return err
	}
	for {
		drained, err := t.drained(ctx)
		if err != nil {
			return err
		}
		done, err := t.through(ctx)
		if err != nil {
			return err
		}
		if drained && done >= int64(n) {
			t.before = done
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d events came through: %w", done, n, err)
		}
	}
}

// drained says whether all consumers have acknowledged what is stored for them.
func (t *trial) drained(ctx context.Context) (bool, error) {
	if t.perAck == 0 {
		return t.rig.Drained(ctx)
	}
	for _, s := range t.rig.Plan().Stages {
		if len(s.Consumers) == 0 {
			continue // chained
		}
		stream, err := t.rig.JetStream().Stream(ctx, s.Consumers[0].Stream)
		if err != nil {
			return false, err
		}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			if info.AckFloor.Stream < stream.CachedInfo().State.LastSeq {
				return false, nil
			}
		}
		if err := consumers.Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// through is how many events the last stages have acknowledged, with those of the warm-up.
func (t *trial) through(ctx context.Context) (int64, error) {
	for _, w := range t.rig.Workers() {
		if !w.Running() {
			return 0, fmt.Errorf("worker %s has ended:\n%s", w.Name(), w.LogTail(2000))
		}
	}
	if t.perAck > 0 {
		consumers, err := t.lastConsumers(ctx)
		if err != nil {
			return 0, err
		}
		var least uint64
		for i, c := range consumers {
			if at := c.CachedInfo().AckFloor.Stream; i == 0 || at < least {
				least = at
			}
		}
		return int64(least) * int64(t.perAck), nil
	}
	least := int64(-1)
	for _, stage := range t.last {
		var sum int64
		for _, w := range t.workersOf(stage) {
			m, err := w.Metrics(ctx)
			if err != nil {
				return 0, err
			}
			for _, outcome := range []string{"emitted", "filtered", "duplicate", "dead_lettered", "kept"} {
				sum += int64(m.Sum("millrace_stage_events_total", "stage", stage, "outcome", outcome))
			}
		}
		if least < 0 || sum < least {
			least = sum
		}
	}
	return least / int64(max(t.reads, 1)), nil
}

func (t *trial) lastConsumers(ctx context.Context) ([]jetstream.Consumer, error) {
	var all []jetstream.Consumer
	for name := range t.filters {
		c, err := t.rig.JetStream().Consumer(ctx, t.lastStream, name)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// watch begins to take down acknowledgements.
func (t *trial) watch(ctx context.Context) (stop func() error, err error) {
	if !t.polled {
		conn, err := t.rig.Server().Connect()
		if err != nil {
			return nil, err
		}
		if err := t.acks.listen(conn, t.lastStream); err != nil {
			conn.Close()
			return nil, err
		}
		return func() error { conn.Close(); return nil }, nil
	}
	consumers, err := t.lastConsumers(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- t.acks.poll(ctx, consumers, 20*time.Millisecond) }()
	return sync.OnceValue(func() error { cancel(); return <-done }), nil
}

// follow tells the publisher how far the last stages are, until ctx ends.
func (t *trial) follow(ctx context.Context, p *publisher) error {
	// To ask is work for the workers: at a steady rate only the end is waited for.
	every := 200 * time.Millisecond
	if t.load.rate > 0 {
		every = 2 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		done, err := t.through(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		p.done.Store(done - t.before)
	}
}

// awaitEnd waits until all stages have acknowledged everything. Events that are lost never
// come through: it ends too when nothing has been left to do for some seconds.
func (t *trial) awaitEnd(ctx context.Context, p *publisher, n int64) error {
	const pause, patience = 20 * time.Millisecond, 5
	idle := 0
	for looks := 1; ; looks++ {
		complete := p.done.Load() >= n
		if complete || looks%50 == 0 {
			drained, err := t.drained(ctx)
			if err != nil {
				return err
			}
			if !drained {
				idle = 0
			} else if idle++; complete || idle == patience {
				return nil
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%d of %d events came through: %w", p.done.Load(), n, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The names of the processes that are no workers.
const (
	publisherName = "publisher"
	serverName    = "nats-server"
)

// meter reads what the processes have used.
type meter struct {
	processes []measured
	began     []usage
}

type measured struct {
	name   string
	pid    int
	worker *rig.Worker
}

// usage of one process since the clock began.
type usage struct {
	name              string
	cpuSeconds        float64
	peakMiB           float64
	mallocs           float64
	worker, generator bool
}

func (t *trial) meter(ctx context.Context) (*meter, error) {
	m := &meter{processes: []measured{{publisherName, os.Getpid(), nil}, {serverName, t.rig.Server().Pid(), nil}}}
	for _, w := range t.rig.Running("") {
		m.processes = append(m.processes, measured{w.Stage(), w.Pid(), w})
	}
	var err error
	m.began, err = m.now(ctx)
	return m, err
}

func (m *meter) now(ctx context.Context) ([]usage, error) {
	all := make([]usage, len(m.processes))
	for i, p := range m.processes {
		u := usage{name: p.name, worker: p.worker != nil, generator: p.pid == os.Getpid()}
		var err error
		if u.cpuSeconds, err = cpuSeconds(p.pid); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if u.peakMiB, err = process.PeakMiB(p.pid); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if p.worker != nil {
			metrics, err := p.worker.Metrics(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			u.mallocs = metrics.Sum("go_memstats_mallocs_total")
		}
		all[i] = u
	}
	return all, nil
}

// read returns what was used since the meter was made.
func (m *meter) read(ctx context.Context) ([]usage, error) {
	now, err := m.now(ctx)
	for i := range now {
		now[i].cpuSeconds -= m.began[i].cpuSeconds
		now[i].mallocs -= m.began[i].mallocs
	}
	return now, err
}

// startProfiles takes a CPU profile and then a heap profile of all processes but this one, while the row runs.
func (t *trial) startProfiles(ctx context.Context) (wait func() error) {
	if t.profile == "" {
		return func() error { return nil }
	}
	urls := map[string]string{serverName: fmt.Sprintf("http://127.0.0.1:%d", t.profiles)}
	for _, w := range t.rig.Running("") {
		urls[w.Name()] = "http://" + w.Addr()
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for name, url := range urls {
		group.Go(func() {
			file := filepath.Join(t.profile, t.name+"-"+name)
			err := download(ctx, url+"/debug/pprof/profile?seconds=5", file+".pprof")
			if err == nil {
				err = download(ctx, url+"/debug/pprof/heap", file+"-heap.pprof")
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("profile of %s: %w", name, err))
			}
		})
	}
	return func() error { group.Wait(); return errors.Join(errs...) }
}

func download(ctx context.Context, url, file string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read only
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}
