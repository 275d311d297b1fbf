package lease

import (
	"maps"
	"time"

	"millrace.dev/millrace/workers/config"
)

// count brings what worker me has counted into the table: the part that is not in it yet. mine are the numbers of
// this process, counted those of them that it last knew to be in the table.
//
// The table says itself how much of a worker it has, so that a write whose answer was lost counts once. A table
// without counts is new, or a worker of an earlier release wrote it last: the counts begin anew.
func (t *Table) count(me string, mine, counted map[string]uint64, now time.Time) {
	w := t.Workers[me]
	if t.Counts == nil {
		t.Counts = &config.Counts{Since: now.UTC().Truncate(time.Second)}
		counted = mine
	} else if w.Counted != nil {
		counted = w.Counted
	}
	for stage, n := range mine {
		if n <= counted[stage] {
			continue
		}
		if t.Counts.Duplicates == nil {
			t.Counts.Duplicates = map[string]uint64{}
		}
		t.Counts.Duplicates[stage] += n - counted[stage]
	}
	if len(mine) > 0 {
		w.Counted = maps.Clone(mine)
	}
	t.Workers[me] = w
}

// count brings the duplicates of this process, and what is open of its breakers, into a table, and returns those that are in it then.
func (k *Keeper) count(t *Table) map[string]uint64 {
	if k.o.Open != nil {
		w := t.Workers[k.o.Worker]
		w.Open = k.o.Open()
		t.Workers[k.o.Worker] = w
	}
	if k.o.Duplicates == nil {
		return nil
	}
	mine := k.o.Duplicates()
	t.count(k.o.Worker, mine, k.counted, k.o.Now())
	return mine
}
