package backoff_test

import (
	"testing"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
)

func TestWait(t *testing.T) {
	for name, c := range map[string]struct {
		failures int
		jitter   float64
		want     time.Duration
	}{
		"first":           {0, 0, 100 * time.Millisecond},
		"doubles":         {3, 0, 800 * time.Millisecond},
		"limited":         {10, 0, 5 * time.Second},
		"no overflow":     {200, 0, 5 * time.Second},
		"half by jitter":  {0, 0.999999999, 50 * time.Millisecond},
		"a third of half": {0, 1.0 / 3, 83 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			got := backoff.Wait(100*time.Millisecond, 5*time.Second, c.failures, c.jitter).Round(time.Millisecond)
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
