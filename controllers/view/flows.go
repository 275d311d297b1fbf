package view

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// flows are the readings of all pipelines that somebody watches.
type flows struct {
	// open finds a pipeline. It is called for each reading.
	open func(ctx context.Context, of Name) (*subject, error)
	now  func() time.Time

	mu  sync.Mutex
	all map[Name]*watched
}

// watched is one pipeline that somebody watches, or has watched in the last hour.
type watched struct {
	probe   *probe
	history history
	// watchers is how many there are. While there is one, a goroutine makes readings.
	watchers int
	stop     context.CancelFunc
	done     chan struct{} // closed when that goroutine has ended
	// newest is the reading, or the error, of the last attempt; next is closed when there is another one.
	newest *Flow
	err    error
	next   chan struct{}
	// on is what the readings are of; the goroutine that makes them finds it anew at until.
	on    *subject
	until time.Time
}

// openFor is how long a pipeline is not looked up again: to plan it takes longer than a reading.
const openFor = 10 * time.Second

func newFlows(open func(ctx context.Context, of Name) (*subject, error), now func() time.Time) *flows {
	return &flows{open: open, now: now, all: map[Name]*watched{}}
}

// watch calls f with readings, those of others who watch the same pipeline, until ctx ends, f fails, or the pipeline is not found.
func (s *flows) watch(ctx context.Context, of Name, f func(*Flow) error) error {
	w := s.join(ctx, of)
	defer s.leave(w)
	var shown *Flow
	for {
		s.mu.Lock()
		flow, err, next := w.newest, w.err, w.next
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if flow != nil && flow != shown {
			if err := f(flow); err != nil {
				return err
			}
			shown = flow
			continue // there may be another one already
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// join adds a watcher. The first one has readings begin.
func (s *flows) join(ctx context.Context, of Name) *watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.now())
	w := s.all[of]
	if w == nil {
		w = &watched{probe: newProbe()}
		s.all[of] = w
	}
	if w.watchers++; w.watchers == 1 {
		// Readings belong to all who watch, so they end with the last one, and not with the first.
		polling, stop := context.WithCancel(context.WithoutCancel(ctx))
		before := w.done
		w.stop, w.done, w.next, w.newest, w.err = stop, make(chan struct{}), make(chan struct{}), nil, nil
		go s.poll(polling, of, w, before, w.done)
	}
	return w
}

// leave takes a watcher off. The last one has readings end.
func (s *flows) leave(w *watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.watchers--; w.watchers == 0 {
		w.stop()
	}
}

// poll makes readings until ctx ends. Before is closed when the goroutine before this one has ended.
func (s *flows) poll(ctx context.Context, of Name, w *watched, before, done chan struct{}) {
	defer close(done)
	if before != nil {
		<-before
	}
	ticker := time.NewTicker(FlowInterval)
	defer ticker.Stop()
	for {
		flow, err := s.read(ctx, of, w)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		w.newest, w.err = flow, err
		if flow != nil {
			w.history.add(flow, s.now())
		}
		close(w.next)
		w.next = make(chan struct{})
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *flows) read(ctx context.Context, of Name, w *watched) (*Flow, error) {
	now := s.now()
	var err error
	if w.on == nil || !now.Before(w.until) {
		if w.on, err = s.open(ctx, of); err == nil {
			w.until = now.Add(openFor)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err != nil { // it may come right: who watches sees why, and goes on
		return &Flow{At: s.now().UTC(), Stages: []StageFlow{}, Edges: []EdgeFlow{}, Problems: []string{fmt.Sprintf("pipeline %s: %v", of, err)}}, nil
	}
	return w.probe.read(ctx, w.on, now)
}

// past is the history of a pipeline.
func (s *flows) past(of Name) []*Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.now())
	w := s.all[of]
	if w == nil {
		return []*Flow{}
	}
	return w.history.list()
}

// forget drops what nobody watches and has no history of the last hour, and the histories that were not added to for the longest time, when
// all together take too much memory.
func (s *flows) forget(now time.Time) {
	size := 0
	for name, w := range s.all {
		w.history.expire(now)
		if w.watchers == 0 && len(w.history.flows) == 0 {
			delete(s.all, name)
		}
		size += w.history.size
	}
	for size > allHistories {
		var oldest *watched
		var at time.Time
		for _, w := range s.all {
			if n := len(w.history.flows); n > 0 && (oldest == nil || w.history.flows[n-1].added.Before(at)) {
				oldest, at = w, w.history.flows[n-1].added
			}
		}
		if oldest == nil {
			return
		}
		size -= oldest.history.size
		oldest.history = history{}
	}
}
