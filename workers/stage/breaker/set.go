package breaker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
)

// Set has the breakers of a stage.
type Set struct {
	settings *config.Breaker
	now      func() time.Time
	metrics  *metrics
	all      []*Breaker
}

// NewSet makes breakers with these settings; without settings there are none, and every call goes through.
func NewSet(c *config.Breaker, now func() time.Time, r prometheus.Registerer) (*Set, error) {
	s := &Set{settings: c, now: now}
	if c == nil {
		return s, nil
	}
	var err error
	s.metrics, err = newMetrics(r)
	return s, err
}

// Of makes the breaker of a target, which has one name in errors and metrics. It is called before the stage starts.
func (s *Set) Of(target string) *Breaker {
	b := newBreaker(s.settings, target, s.now, s.metrics)
	if b != nil {
		s.all = append(s.all, b)
	}
	return b
}

// Closed says whether all of them are.
func (s *Set) Closed() bool {
	for _, b := range s.all {
		if !b.Closed() {
			return false
		}
	}
	return true
}

// Open are those that are not closed.
func (s *Set) Open() (open []config.OpenBreaker) {
	for _, b := range s.all {
		if o, ok := b.Open(); ok {
			open = append(open, o)
		}
	}
	return open
}

// Notes say which breakers are not closed.
func (s *Set) Notes() (notes []string) {
	for _, b := range s.all {
		if note := b.Note(); note != "" {
			notes = append(notes, note)
		}
	}
	return notes
}
