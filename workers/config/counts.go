package config

import (
	"encoding/json"
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
