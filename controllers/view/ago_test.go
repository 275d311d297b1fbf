package view

import (
	"testing"
	"time"
)

func TestAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "5m": now.Add(-5 * time.Minute), "2026-01-01T00:00:00Z": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := Ago(text, now); err != nil || !got.Equal(want) {
			t.Errorf("Ago(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-5m", "5"} {
		if got, err := Ago(text, now); err == nil {
			t.Errorf("Ago(%q) = %v, want an error", text, got)
		}
	}
}
