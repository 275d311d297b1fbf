package breaker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
)

func settings() *config.Breaker {
	return &config.Breaker{
		FailureRatio: 0.5, Window: config.Duration(10 * time.Second), MinCalls: 10, OpenFor: config.Duration(5 * time.Second), TrialCalls: 4,
	}
}

func made(t *testing.T, c *config.Breaker) (*Set, *Breaker, *prometheus.Registry) {
	t.Helper()
	r := prometheus.NewRegistry()
	s, err := NewSet(c, time.Now, r)
	if err != nil {
		t.Fatal(err)
	}
	b := s.Of("model")
	return s, b, r
}

// call makes n calls at once that take so long, and returns how many went through.
func call(b *Breaker, n int, good bool, took time.Duration) (through int) {
	for range n {
		if b.Allow() == nil {
			through++
		}
	}
	began := time.Now()
	time.Sleep(took)
	for range through {
		b.Done(began, good)
	}
	return through
}

func want(t *testing.T, s *Set, note string) {
	t.Helper()
	got := strings.Join(s.Notes(), "; ")
	if note == "" && got != "" || !strings.Contains(got, note) {
		t.Fatalf("notes: %q, want %q", got, note)
	}
}

// TestOpensAndCloses: by the ratio of failures in a window, and by trial calls.
func TestOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, r := made(t, settings())
		call(b, 9, false, 0)
		want(t, s, "") // too few calls
		time.Sleep(12 * time.Second)
		call(b, 6, true, 0)
		call(b, 5, false, 0)
		want(t, s, "") // those of the window before are forgotten
		call(b, 1, false, 0)
		want(t, s, "the circuit breaker of model is open, for another 5s")
		if n := call(b, 100, true, 0); n != 0 {
			t.Errorf("%d calls went through an open breaker", n)
		}
		time.Sleep(5 * time.Second)
		through := 0
		for range 100 { // calls that take a while
			if b.Allow() == nil {
				through++
			}
		}
		if want(t, s, "is half-open"); through != 4 {
			t.Errorf("%d trial calls, want 4", through)
		}
		for range through {
			b.Done(time.Now(), false)
		}
		want(t, s, "is open")
		time.Sleep(5 * time.Second)
		call(b, 4, true, 0)
		want(t, s, "")
		if n := call(b, 100, true, 0); n != 100 {
			t.Errorf("%d calls went through a closed breaker", n)
		}
		for state, n := range map[string]float64{"open": 2, "half_open": 2, "closed": 1} {
			if got := value(t, r, "millrace_breaker_transitions_total", state); got != n {
				t.Errorf("%g transitions to %s, want %g", got, state, n)
			}
		}
		if value(t, r, "millrace_breaker_state", "closed") != 1 || value(t, r, "millrace_breaker_state", "open") != 0 {
			t.Error("the gauge does not say that it is closed")
		}
		if got := value(t, r, "millrace_breaker_refused_total", ""); got != 196 {
			t.Errorf("%g calls were refused, want 196", got)
		}
	})
}

// value is that of the metric with the label state.
func value(t *testing.T, r *prometheus.Registry, name, state string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (state == "" || m.GetLabel()[0].GetValue() == state) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// TestSlowCalls open it though none fails, and slow trial calls do not close it.
func TestSlowCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settings()
		c.SlowAfter, c.SlowRatio = config.Duration(time.Second), 0.8
		s, b, _ := made(t, c)
		call(b, 3, true, 0)
		call(b, 10, true, time.Second)
		want(t, s, "") // 10 of 13
		call(b, 2, true, 2*time.Second)
		want(t, s, "is open")
		time.Sleep(5 * time.Second)
		call(b, 4, true, time.Second)
		want(t, s, "is open")
		time.Sleep(5 * time.Second)
		call(b, 4, true, 0)
		want(t, s, "")
		call(b, 7, true, time.Second)
		want(t, s, "") // the window began anew
	})
}

// TestTrialCallsThatNobodyKnowsOf do not hold it half-open for ever.
func TestTrialCallsThatNobodyKnowsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := made(t, settings())
		call(b, 10, false, 0)
		time.Sleep(5 * time.Second)
		for range 4 {
			if err := b.Allow(); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			b.Cancel(time.Now())
		}
		want(t, s, "is open")
		time.Sleep(5 * time.Second)
		call(b, 4, true, 0)
		want(t, s, "")
		for range 100 {
			if err := b.Allow(); err != nil {
				t.Fatal(err)
			}
			b.Cancel(time.Now())
		}
		want(t, s, "")
	})
}

// TestNoBreaker lets everything through.
func TestNoBreaker(t *testing.T) {
	s, b, _ := made(t, nil)
	if n := call(b, 100, false, 0); n != 100 || len(s.Notes()) > 0 || b.Note() != "" {
		t.Errorf("%d calls went through, notes %v", n, s.Notes())
	}
	b.Cancel(time.Now())
}

// TestLateResults of calls that began before the state changed are no trial calls.
func TestLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := made(t, settings())
		began := time.Now()
		for range 30 { // calls that take a while
			if err := b.Allow(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		for range 10 {
			b.Done(began, false)
		}
		want(t, s, "is open")
		if err := b.Allow(); err == nil || err.Error() != "the circuit breaker of model is open, for another 5s" {
			t.Errorf("got %v", err)
		}
		time.Sleep(5 * time.Second)
		want(t, s, "is open; the next call is a trial")
		for range 4 {
			if err := b.Allow(); err != nil {
				t.Fatal(err)
			}
		}
		trials := time.Now()
		for range 10 {
			b.Done(began, true)
			b.Done(began, false)
			b.Cancel(began)
		}
		want(t, s, "is half-open")
		if err := b.Allow(); err == nil || err.Error() != "the circuit breaker of model is half-open" {
			t.Errorf("got %v", err)
		}
		for range 4 {
			b.Done(trials, true)
		}
		want(t, s, "")
	})
}

// TestTrialsNeeded: the ratio is not reached by the calls that may be bad.
func TestTrialsNeeded(t *testing.T) {
	for _, tc := range []struct {
		ratio        float64
		trials, want int
	}{{0.5, 4, 3}, {0.5, 5, 3}, {1, 4, 1}, {0.01, 5, 5}, {0.1, 10, 10}, {0.3, 10, 8}, {0.55, 100, 46}, {0.5, 1, 1}} {
		if got := trialsNeeded(&config.Breaker{FailureRatio: tc.ratio, TrialCalls: tc.trials}); got != uint(tc.want) {
			t.Errorf("%g of %d: %d, want %d", tc.ratio, tc.trials, got, tc.want)
		}
	}
}
