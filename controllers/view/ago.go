package view

import (
	"fmt"
	"time"
)

// Ago reads a time: RFC 3339, or a duration before now, such as 5m; zero for an empty text.
func Ago(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q: want a duration such as 15m, or a time such as 2026-01-02T15:04:05Z", text)
	}
	return at, nil
}
