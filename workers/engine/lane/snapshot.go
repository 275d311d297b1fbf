package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/snapshot"
)

// A lane whose stages can keep their state (stage.Snapshotter) stores a snapshot of it from time to time (package snapshot). A
// takeover restores the snapshot and replays only what is acknowledged behind it.
//
// A snapshot only saves time. It is taken between two steps, and stored when the outputs of all steps before are stored and
// acknowledged, so it is never ahead of these. One that is not of the same
// config, streams and release, that is damaged, or that was taken before a stage failed, is not used: the input is replayed.
const (
	// snapshotCost is how many times the time that it takes to make a snapshot pass before the next: the lane waits meanwhile.
	snapshotCost = 50
	// snapshotRetry is how long a lane makes none after one could not be stored.
	snapshotRetry = time.Minute
)

// saver makes the snapshots of one session. A nil one makes none.
type saver struct {
	l     *session
	store *snapshot.Store
	queue chan *unsaved
	busy  atomic.Bool // one is on its way

	// Of the process goroutine:
	floors []uint64 // at the takeover
	due    time.Time
	saved  []uint64 // where the last one was taken
	room   int      // for the next one, as far as the last one tells

	// failed is when one could not be stored; zero = none or not since. It belongs to the goroutine that stores.
	failed time.Time

	metrics           *laneMetrics
	size, made, spent prometheus.Gauge
}

// newSaver is nil when the lane makes no snapshots: it has no bucket, or a stage has to replay anyway.
func (l *session) newSaver(floors []uint64) *saver {
	w := l.w
	if w.Config.Leases == "" || !l.chain.Flushes() || !l.chain.Keeps() {
		return nil
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_stage_snapshot_" + name, Help: help})
	}
	return &saver{
		l: l, queue: make(chan *unsaved, 2), floors: slices.Clone(floors), due: w.Now().Add(w.SnapshotEvery),
		store: snapshot.New(snapshot.Options{
			JS: w.JS, Stored: &w.stored, Domain: w.domain, Bucket: config.StateBucket(w.Config.Leases), Key: w.Config.Stage + "." + strconv.Itoa(l.index),
			MaxPayload: w.Conn.MaxPayload, Owns: func(ctx context.Context) (bool, error) { return w.owns(ctx, l.index) },
		}),
		size:    gauge("bytes", "Size of the last stored snapshot of the state of a lane."),
		made:    gauge("timestamp_seconds", "When the last stored snapshot of the state of a lane was stored, Unix time."),
		spent:   gauge("seconds", "How long the lane waited while the last snapshot was made."),
		metrics: &laneMetrics{Registerer: w.laneRegisterer(w.Nodes[0], l.index)},
	}
}

// restore gives the stages the state of the last snapshot. from is up to where of each input they know all then; nil = nothing
// was restored. After an error the stages are of no use.
func (s *saver) restore(ctx context.Context, floors []uint64) (from []uint64, err error) {
	if s == nil || s.l.suspects.Pending() { // a state that a stage panicked on may be the reason
		return nil, nil
	}
	began := s.l.w.Now()
	m, err := s.store.Look(ctx)
	if err != nil || m == nil {
		return nil, err
	}
	if useful, err := s.useful(ctx, m, floors); err != nil || !useful {
		return nil, err
	}
	state, err := s.store.Read(ctx, m)
	if err != nil {
		return nil, err
	}
	var last []uint64
	for _, in := range m.Inputs {
		from, last = append(from, in.Seq), append(last, in.Last)
	}
	if err := s.l.chain.Restore(state, m.Tick, last); err != nil {
		return nil, err
	}
	s.l.log.Info("state restored", "lane", s.l.index, "bytes", m.Size, "age", began.Sub(time.UnixMilli(m.Tick)).Round(time.Second), "took", s.l.w.Now().Sub(began))
	return from, nil
}

// useful says whether a snapshot spares the lane a replay.
func (s *saver) useful(ctx context.Context, m *snapshot.Manifest, floors []uint64) (bool, error) {
	digest, err := s.l.edition.digest()
	switch {
	case err != nil:
		return false, err
	case m.Config != digest:
		return false, errors.New("it was made with another config")
	case len(m.Inputs) != len(floors):
		return false, errors.New("it is of other inputs")
	}
	for i, in := range m.Inputs {
		switch {
		case in.Place != s.l.places[i]:
			return false, errors.New("it is of another input stream")
		case in.Seq > floors[i]:
			return false, fmt.Errorf("it reaches to %d of stream %s, and that is acknowledged up to %d", in.Seq, in.Place.From, floors[i])
		case in.Seq == floors[i]:
			continue
		}
		at, err := s.l.sources[i].TimeOf(ctx, floors[i])
		if err != nil {
			return false, err
		}
		if at.Sub(time.UnixMilli(m.Tick)) > s.l.chain.Horizon() {
			return false, nil // to replay the horizon is less
		}
	}
	return true, nil
}

// take makes a snapshot behind a step when it is time: in the goroutine that processes steps.
func (s *saver) take(ctx context.Context, to *step, last bool) {
	if s == nil || s.busy.Load() && !last || !last && s.l.w.Now().Before(s.due) || s.l.chain.Tick() == 0 || slices.Equal(s.saved, s.last()) {
		return
	}
	if !s.l.chain.Settle(ctx) || s.l.chain.Spoiled() { // also by what it was still at
		return
	}
	began := s.l.w.Now()
	made, err := s.make(last)
	took := s.l.w.Now().Sub(began)
	s.due = began.Add(max(s.l.w.SnapshotEvery, snapshotCost*took))
	if err != nil {
		s.l.log.Warn("no snapshot of the state can be made", "lane", s.l.index, "problem", err)
		return
	}
	s.spent.Set(took.Seconds())
	s.saved = s.last()
	s.busy.Store(true)
	to.unsaved = made
}

// last is the last message of each input that the stages have processed.
func (s *saver) last() (last []uint64) {
	for i := range s.l.sources {
		last = append(last, s.l.chain.Last(i))
	}
	return last
}

func (s *saver) make(last bool) (*unsaved, error) {
	digest, err := s.l.edition.digest()
	if err != nil {
		return nil, err
	}
	made := &unsaved{Manifest: snapshot.Manifest{Owner: s.l.w.Name, Config: digest, Tick: s.l.chain.Tick()}, last: last}
	for i, seq := range s.last() {
		made.Inputs = append(made.Inputs, snapshot.Input{Place: s.l.places[i], Seq: max(seq, s.floors[i]), Last: seq})
	}
	if made.state, err = s.l.chain.Snapshot(make([]byte, 0, s.room)); err != nil {
		return nil, err
	}
	s.room = len(made.state) + len(made.state)/8
	return made, nil
}

// takeLast makes a snapshot when the lane is given back, behind all that it has done.
func (s *saver) takeLast(ctx context.Context, out chan<- *step) {
	if s == nil || ctx.Err() != nil || !s.l.w.Conn.IsConnected() {
		return
	}
	var to *step
	select {
	case to = <-s.l.free:
	case <-ctx.Done():
		return
	}
	to.reset()
	s.l.working.Add(1)
	to.done = s.l.chain.Done()
	s.take(ctx, to, true)
	select {
	case out <- to:
	case <-ctx.Done():
	}
}

// committed hands on the snapshot behind a step that is stored and acknowledged.
func (s *saver) committed(of *step) {
	if s != nil && of.unsaved != nil {
		s.queue <- of.unsaved // there is room: one is on its way, and the last one
		of.unsaved = nil
	}
}

// run stores snapshots until close.
func (s *saver) run(ctx context.Context) {
	if s == nil {
		return
	}
	s.metrics.MustRegister(s.size, s.made, s.spent)
	defer s.metrics.close()
	for made := range s.queue {
		s.save(ctx, made)
		s.busy.Store(false)
	}
}

func (s *saver) save(ctx context.Context, made *unsaved) {
	if ctx.Err() != nil || !s.failed.IsZero() && (made.last || s.l.w.Now().Sub(s.failed) < snapshotRetry) {
		return
	}
	size, err := s.store.Save(ctx, made.Manifest, made.state)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		s.failed = time.Time{}
		s.size.Set(float64(size))
		s.made.Set(float64(s.l.w.Now().Unix()))
		s.l.log.Debug("state kept", "lane", s.l.index, "bytes", size, "raw", len(made.state))
	default:
		if s.failed.IsZero() {
			s.l.log.Warn("a snapshot of the state was not stored: a takeover would replay the input", "lane", s.l.index, "problem", err)
		}
		s.failed = s.l.w.Now()
	}
}

func (s *saver) close() {
	if s != nil {
		close(s.queue)
	}
}
