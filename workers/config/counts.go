package config

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Counts are sums over all workers that a stage ever had, those that have ended included. The workers keep them in
// the table of leases of the stage, where the operator reads them.
type Counts struct {
	// Since is when they began: with the first worker, or with the first one after the table was lost.
	Since time.Time `json:"since"`
	// Duplicates are the events dropped as duplicates, by stage: that of the workers, and those chained to it.
	Duplicates map[string]uint64 `json:"duplicates,omitempty"`
}

// OpenBreaker is a circuit breaker of a worker that is not closed. Workers keep the one that has been open for longest in the table of leases of their stage.
type OpenBreaker struct {
	// Target is what the stage calls.
	Target string `json:"target"`
	// Since is when it was closed last.
	Since time.Time `json:"since"`
}

// Breakers are those of the workers of a stage.
type Breakers struct {
	// Longest has not been closed for the longest time; nil = all are closed.
	Longest *OpenBreaker
	// Open is how many workers have one that is not closed, of All.
	Open, All int
}

// ParseBreakers reads the open breakers from a table of leases.
func ParseBreakers(table []byte) (b Breakers) {
	var t struct {
		Workers map[string]struct {
			Open *OpenBreaker `json:"open"`
		} `json:"workers"`
	}
	if json.Unmarshal(table, &t) != nil {
		return b
	}
	for _, id := range slices.Sorted(maps.Keys(t.Workers)) {
		b.All++
		open := t.Workers[id].Open
		if open == nil {
			continue
		}
		if b.Open++; b.Longest == nil || open.Since.Before(b.Longest.Since) {
			b.Longest = open
		}
	}
	return b
}

// ParseCounts reads the counts from a table of leases; nil where it has none, as one that workers of an earlier
// release wrote, or is no table.
func ParseCounts(table []byte) *Counts {
	var t struct {
		Counts *Counts `json:"counts"`
	}
	if json.Unmarshal(table, &t) != nil {
		return nil
	}
	return t.Counts
}
