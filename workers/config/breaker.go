package config

import "fmt"

// Breaker is the circuit breaker of what a stage calls (Traits.calls).
type Breaker struct {
	// FailureRatio is the part of the calls of a window that fail which opens it, above 0 and up to 1.
	FailureRatio float64 `json:"failureRatio"`
	// SlowRatio is that of slow calls: of those that take SlowAfter or longer; 0 = no call is slow.
	SlowRatio float64  `json:"slowRatio,omitempty"`
	SlowAfter Duration `json:"slowAfter,omitempty"`
	// Window is the time over which calls are counted, and MinCalls how many there have to be in it.
	Window   Duration `json:"window"`
	MinCalls int      `json:"minCalls"`
	// OpenFor is how long it is open, and TrialCalls how many calls go through then, at first.
	OpenFor    Duration `json:"openFor"`
	TrialCalls int      `json:"trialCalls"`
	// WhenOpen says what becomes of events that it lets no call go through for; empty = Fail.
	WhenOpen WhenOpen `json:"whenOpen,omitempty"`
	// ReplayRate is how many events a second all workers together replay at most; 0 = any number. ReplayShare is the part of the calls
	// under way that these have at most. Both are for WhenOpenOverflow.
	ReplayRate  int     `json:"replayRate,omitempty"`
	ReplayShare float64 `json:"replayShare,omitempty"`
}

// WhenOpen is what becomes of events while a breaker is not closed.
type WhenOpen string

// What becomes of them.
const (
	// WhenOpenFail: the call counts as one that failed.
	WhenOpenFail WhenOpen = "Fail"
	// WhenOpenOverflow: they leave on port overflow, and are replayed from there.
	WhenOpenOverflow WhenOpen = "Overflow"
)

// Check refuses settings that no breaker can have.
func (b *Breaker) Check() error {
	ratio := func(r float64) bool { return r > 0 && r <= 1 }
	switch {
	case b == nil:
		return nil
	case !ratio(b.FailureRatio):
		return fmt.Errorf("breaker.failureRatio: is %g, must be above 0 and up to 1", b.FailureRatio)
	case b.SlowAfter < 0 || b.SlowAfter > 0 && !ratio(b.SlowRatio):
		return fmt.Errorf("breaker.slowRatio: is %g, must be above 0 and up to 1", b.SlowRatio)
	case b.Window <= 0 || b.OpenFor <= 0:
		return fmt.Errorf("breaker: window is %s and openFor %s, must be positive", b.Window.D(), b.OpenFor.D())
	case b.MinCalls < 1 || b.TrialCalls < 1:
		return fmt.Errorf("breaker: minCalls is %d and trialCalls %d, must be at least 1", b.MinCalls, b.TrialCalls)
	case b.WhenOpen != "" && b.WhenOpen != WhenOpenFail && b.WhenOpen != WhenOpenOverflow:
		return fmt.Errorf("breaker.whenOpen: is %q, must be Fail or Overflow", b.WhenOpen)
	case b.ReplayRate < 0 || b.ReplayShare < 0 || b.ReplayShare > 1:
		return fmt.Errorf("breaker: replayRate is %d and replayShare %g, must be 0 or more, and 0 to 1", b.ReplayRate, b.ReplayShare)
	}
	return nil
}

// Calls says whether the stage calls something outside of NATS's streams and Kubernetes that may have a breaker.
func (c *StageConfig) Calls() bool {
	calls := c.Kind.Traits().calls
	return calls != nil && calls(c)
}
