package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"millrace.dev/millrace/workers/collect"
)

// head says what the shards of a checkpoint stand for.
type head struct {
	collect.Position
	// Since is from when on the collector tells what happened.
	Since time.Time `json:"since"`
	// Late are the kinds that were not listed with the others, for lack of a right, with a since
	// of their own; zero = they have not been listed yet.
	Late map[string]time.Time `json:"late,omitempty"`
	// Kinds are those that the collector watches; none = those that the first releases watched.
	Kinds []string `json:"kinds,omitempty"`
}

// newCheckpoint encodes the changed shards of l and marks them clean.
func newCheckpoint(l *ledger, since time.Time, late map[string]time.Time) *collect.Checkpoint {
	late = maps.Clone(late)
	c := collect.NewCheckpoint(func(p collect.Position) any {
		return head{Position: p, Since: since, Late: late, Kinds: kinds}
	})
	for i, dirty := range l.dirty {
		if !dirty {
			continue
		}
		text, err := json.Marshal(l.objects[i])
		if err != nil {
			continue // strings and numbers always encode
		}
		c.Add(i, text)
		l.dirty[i] = false
	}
	return c
}

// readCheckpoint decodes a checkpoint.
func readCheckpoint(saved collect.Saved) (l *ledger, h head, err error) {
	if err := json.Unmarshal(saved.Head, &h); err != nil {
		return nil, h, fmt.Errorf("read checkpoint: %w", err)
	}
	h.Position = saved.Position
	l = newLedger()
	for i, text := range saved.Shards {
		objects := map[string]*record{}
		if err := json.Unmarshal(text, &objects); err != nil {
			return nil, h, fmt.Errorf("read checkpoint: shard %02d: %w", i, err)
		}
		l.objects[i] = objects
	}
	for i := range l.dirty {
		l.dirty[i] = saved.Moved
	}
	return l, h, nil
}
