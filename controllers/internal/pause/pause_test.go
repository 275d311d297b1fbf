package pause

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestFor(t *testing.T) {
	began := time.Now()
	if err := For(t.Context(), 20*time.Millisecond); err != nil || time.Since(began) < 20*time.Millisecond {
		t.Errorf("it was over after %s: %v", time.Since(began), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []time.Duration{-1, 0, time.Hour} {
		if err := For(ended, d); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, with nobody who waits: %v", d, err)
		}
	}
}
