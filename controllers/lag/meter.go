package lag

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
)

const (
	// keepFor is how long the reading of a stage that nobody measures any more is kept.
	keepFor = 10 * time.Minute
	// measuredAtOnce bounds how many stages are measured at the same time, and longestMeasurement for how many periods one of them
	// may go on: a server that does not answer delays the others for no longer.
	measuredAtOnce     = 16
	longestMeasurement = 5
)

// errTooLong ends a measurement that takes too long.
var errTooLong = errors.New("it took too long to measure")

// Reading is what was found out about one stage.
type Reading struct {
	// At is when it was measured.
	At time.Time
	// Labels name the pipeline and the stage.
	Labels map[string]string
	// Lag is the number of events stored and not yet acknowledged.
	Lag int64
	// Arrival and Rate are events a second: what comes in, and what one worker gets through (0: not known).
	Arrival, Rate float64
	// Scales says whether the number of workers follows the lag; the rest is empty where it does not.
	Scales bool
	// Wanted is the number of workers that the load calls for.
	Wanted scaling.Decision
	// Settled is that number in steps and without haste downwards: what to set where no
	// HorizontalPodAutoscaler does.
	Settled int32
	// Err is why the stage could not be measured; the rest is then older, or empty.
	Err error
}

// Meter measures stages. Its methods may be called from any goroutine.
type Meter struct {
	// Client reads Stages, their revisions and Deployments.
	Client client.Reader
	Access *access.Access
	// Cluster is recorded on consumers; it tells operators apart that share a NATS account.
	Cluster string
	// Now is the clock.
	Now func() time.Time
	// Every is how often stages that scale are measured, and how old a reading may be.
	Every time.Duration
	// LeaderOnly: only the replica that leads measures, since nobody asks the others.
	LeaderOnly bool
	// Down is for how long nobody must have wanted more workers before there are fewer.
	Down time.Duration
	// Sets says whether the operator itself has to change a number of workers from what it is to what it should be.
	Sets func(have, want int32) bool
	// Changed is told of stages whose number of workers the operator may have to set. It is never
	// waited for: what is not told now is told again at the next measurement.
	Changed chan<- event.GenericEvent

	mu    sync.Mutex
	known map[types.NamespacedName]*entry
	// measuring are the measurements of the rounds.
	measuring errgroup.Group
}

// entry is one stage. Its lock is held while it is measured, so that many who ask wait for one answer.
type entry struct {
	inRound  atomic.Bool // a round measures it
	mu       sync.Mutex
	reading  Reading
	estimate scaling.Estimate
	window   scaling.Window
	// idleSince is when the lag became 0; zero while there is some.
	idleSince time.Time
	begun     bool
	// askedAt is when somebody last wanted to know it; it could not be measured then, perhaps.
	askedAt time.Time
	// newest is a copy of reading, for those who must not wait for a measurement; nil before the first one.
	newest atomic.Pointer[Reading]
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (m *Meter) NeedLeaderElection() bool { return m.LeaderOnly }

// Start measures the stages that scale until the context ends.
func (m *Meter) Start(ctx context.Context) error {
	m.measuring.SetLimit(measuredAtOnce)
	defer m.measuring.Wait() //nolint:errcheck // measurements return none
	ticker := time.NewTicker(m.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.round(ctx)
		}
	}
}

// round begins to measure the stages that scale, but for those that are being measured since a round before. It waits for a
// free goroutine.
func (m *Meter) round(ctx context.Context) {
	var stages v1alpha1.StageList
	if err := m.Client.List(ctx, &stages); err != nil {
		return // the cache ends with the context
	}
	for i := range stages.Items {
		stage := &stages.Items[i]
		if !scales(stage) {
			continue
		}
		e := m.entry(stage)
		if e.inRound.Swap(true) {
			continue
		}
		m.measuring.Go(func() error {
			defer e.inRound.Store(false)
			ctx, cancel := context.WithTimeoutCause(ctx, longestMeasurement*m.Every, errTooLong)
			defer cancel()
			m.measure(ctx, stage)
			return nil
		})
	}
	m.forget()
}

// scales says whether a stage may have to be measured without being asked for: by its spec, or because it is scaled already, by a
// revision that an edit which is refused does not replace.
func scales(stage *v1alpha1.Stage) bool {
	return (stage.Spec.Workers.Max > 0 || stage.Status.Autoscaling != nil) && stage.Spec.Replicas == nil && stage.DeletionTimestamp.IsZero()
}

// Latest is the newest reading of a stage; ok is false when it was never measured.
func (m *Meter) Latest(stage types.NamespacedName) (reading Reading, ok bool) {
	m.mu.Lock()
	e := m.known[stage]
	m.mu.Unlock()
	if e == nil {
		return Reading{}, false
	}
	newest := e.newest.Load()
	if newest == nil {
		return Reading{}, false
	}
	return *newest, true
}

// shownFor is how old a reading may be that still counts as of now: several rounds.
const shownFor = 30 * time.Second

// fresh is the newest reading of a stage that scales, or why there is none of now.
func (m *Meter) fresh(stage types.NamespacedName) (Reading, error) {
	r, ok := m.Latest(stage)
	switch {
	case !ok:
		return r, errors.New("it has not been measured yet")
	case r.Err != nil:
		return r, r.Err
	case !r.Scales:
		return r, errors.New("its workers did not follow the lag when it was measured last")
	case m.Now().Sub(r.At) > shownFor:
		return r, fmt.Errorf("it was measured last %s ago", m.Now().Sub(r.At).Round(time.Second))
	}
	return r, nil
}

// names are the stages that have been measured.
func (m *Meter) names() []types.NamespacedName {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.known))
}

// Read measures, unless that has just been done, the stages of a namespace whose labels match. Those that are in no
// plan are left out: they have no lag, and may share their labels with a stage that has one.
func (m *Meter) Read(ctx context.Context, namespace string, selector k8slabels.Selector) ([]Reading, error) {
	var stages v1alpha1.StageList
	if err := m.Client.List(ctx, &stages, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var readings []Reading
	for i := range stages.Items {
		stage := &stages.Items[i]
		if !selector.Matches(k8slabels.Set(labelsOf(stage))) || stage.Spec.Placement != nil {
			continue
		}
		r := m.measure(ctx, stage)
		if errors.Is(r.Err, errNoPlan) {
			continue
		}
		if r.Err != nil {
			return nil, fmt.Errorf("stage %s: %w", stage.Name, r.Err)
		}
		readings = append(readings, r)
	}
	return readings, nil
}

func labelsOf(stage *v1alpha1.Stage) map[string]string {
	return labels.Selector(stage.Spec.PipelineRef.Name, graph.Name(stage))
}

// measure brings the reading of a stage up to date.
func (m *Meter) measure(ctx context.Context, stage *v1alpha1.Stage) Reading {
	e := m.entry(stage)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := m.Now()
	e.askedAt = now
	// A little less than the period, so that the round itself always measures.
	if e.begun && e.reading.Err == nil && now.Sub(e.reading.At) < m.Every*3/4 {
		return e.reading
	}
	seen, err := m.observe(ctx, stage)
	if err != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTooLong) { // who asked has gone: that says nothing of the stage
		r := e.reading
		r.Err = err
		return r
	}
	defer func() {
		newest := e.reading
		e.newest.Store(&newest)
	}()
	if err != nil {
		e.reading.Err, e.reading.Labels, e.begun = err, labelsOf(stage), true
		return e.reading
	}
	seen.sample.At = now
	e.learn(stage, seen, m.Down)
	if e.reading.Scales && seen.deployed && m.Sets(seen.workers, e.reading.Settled) {
		m.tell(stage)
	}
	return e.reading
}

// learn makes the reading from what was seen.
func (e *entry) learn(stage *v1alpha1.Stage, seen observation, down time.Duration) {
	now := seen.sample.At
	if !e.begun || e.estimate.Last().At.IsZero() {
		// What was known, and what there is, outlive a restart of the operator.
		if s := stage.Status.Autoscaling; s != nil {
			e.estimate = scaling.Known(float64(s.Rate))
		}
		e.window.Settle(now, seen.workers, seen.workers, down)
	}
	e.begun = true
	e.estimate = e.estimate.Learn(seen.sample)
	switch {
	case seen.sample.Lag > 0:
		e.idleSince = time.Time{}
	case e.idleSince.IsZero():
		e.idleSince = now
	}
	r := Reading{At: now, Labels: labelsOf(stage), Lag: seen.sample.Lag, Arrival: e.estimate.Arrival, Rate: e.estimate.Rate}
	if r.Scales = seen.scales; r.Scales {
		load := scaling.Load{
			Lag: r.Lag, Arrival: r.Arrival, Rate: r.Rate, Workers: seen.workers, IdleAfter: down,
		}
		if !e.idleSince.IsZero() {
			load.Idle = now.Sub(e.idleSince)
		}
		r.Wanted = scaling.Wanted(seen.policy, load)
		r.Settled = e.window.Settle(now, seen.workers, r.Wanted.Workers, down)
	}
	e.reading = r
}

func (m *Meter) tell(stage *v1alpha1.Stage) {
	select {
	case m.Changed <- event.GenericEvent{Object: stage}:
	default:
	}
}

func (m *Meter) entry(stage *v1alpha1.Stage) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[types.NamespacedName]*entry{}
	}
	key := client.ObjectKeyFromObject(stage)
	if m.known[key] == nil {
		m.known[key] = &entry{}
	}
	return m.known[key]
}

// forget drops stages that are gone or do not scale any more: nobody measures them. One that cannot be measured is
// kept, or it would pass for one that nobody has tried to.
func (m *Meter) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.known {
		if !e.mu.TryLock() {
			continue
		}
		if !e.askedAt.IsZero() && m.Now().Sub(e.askedAt) > keepFor {
			delete(m.known, key)
		}
		e.mu.Unlock()
	}
}

// deployment reads the number of workers that there should be, and that are ready.
func (m *Meter) deployment(ctx context.Context, stage *v1alpha1.Stage, s *observation) error {
	var d appsv1.Deployment
	err := m.Client.Get(ctx, client.ObjectKeyFromObject(stage), &d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.deployed, s.workers = true, revision.Replicas(&d)
	s.sample.Ready = min(d.Status.ReadyReplicas, int32(s.policy.Lanes))
	return nil
}
