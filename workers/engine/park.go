package engine

import (
	"sync"
	"time"
)

// retry is what is left to do of a group: events that are processed again after a
// back-off. The group stays in memory and its messages stay unacknowledged meanwhile.
type retry struct {
	g *group
	// indices are positions in g.events.
	indices []int
	attempt int // the one to come
}

// parking holds retries until they are due.
type parking struct {
	due    chan *retry
	closed <-chan struct{}

	mu      sync.Mutex
	waiting map[*retry]*time.Timer
	// count is parked, due or being worked on.
	count int
	open  bool // everything is due at once: the engine drains
}

func newParking(closed <-chan struct{}) *parking {
	return &parking{due: make(chan *retry, 64), closed: closed, waiting: map[*retry]*time.Timer{}}
}

// park makes r due after wait.
func (p *parking) park(r *retry, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	if p.open {
		wait = 0
	}
	p.waiting[r] = time.AfterFunc(wait, func() { p.release(r) })
}

func (p *parking) release(r *retry) {
	p.mu.Lock()
	_, parked := p.waiting[r]
	delete(p.waiting, r)
	p.mu.Unlock()
	if !parked { // its timer fired while releaseAll set it again
		return
	}
	select {
	case p.due <- r:
	case <-p.closed:
	}
}

// releaseAll makes everything due now and from now on.
func (p *parking) releaseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = true
	for _, t := range p.waiting {
		t.Reset(0)
	}
}

// done ends the work on one retry.
func (p *parking) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
}

func (p *parking) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count == 0
}
