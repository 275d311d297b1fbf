package lease

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"millrace.dev/millrace/workers/config"
)

// Table is who owns which lane of a stage. It is the whole value of one key, and a version of
// it is never changed, only followed by another one.
type Table struct {
	// Workers are those that take part, by id.
	Workers map[string]Worker `json:"workers"`
	// Lanes has the id of each lane's owner; empty = nobody owns it.
	Lanes []string `json:"lanes"`
	// Counts of all workers; nil in a table that a worker of an earlier release wrote.
	Counts *config.Counts `json:"counts,omitempty"`
}

// Worker is what one worker says of itself.
type Worker struct {
	// Beat is another number each time the worker writes.
	Beat uint64 `json:"beat"`
	// Giving are lanes that the worker owns and drains, to let go of them. Ascending.
	Giving []int `json:"giving,omitempty"`
	// Leaving says that the worker gives up all that it has and takes nothing.
	Leaving bool `json:"leaving,omitempty"`
	// Counted are the duplicates of this worker that are in Table.Counts, by stage.
	Counted map[string]uint64 `json:"counted,omitempty"`
	// Open is a circuit breaker of this worker that is not closed, for the operator; nil = there is none. It is never written to.
	Open *config.OpenBreaker `json:"open,omitempty"`
}

// Hand is what a worker alone knows of its lanes.
type Hand struct {
	// Drained are lanes with which the worker is done: it lets go of them.
	Drained map[int]bool
	// Stopping are lanes that the worker lost and has not stopped to work on: it does not
	// take them yet.
	Stopping map[int]bool
	// Leaving: see Worker.
	Leaving bool
}

// Next is the table after the move of worker me, and whether that differs from t. dead are
// the workers that me knows to be dead. It is pure: the same arguments give the same table.
//
// A worker moves only what is its own, free, or of the dead: it takes free lanes up to its
// share, marks as Giving what it has above its share (the highest lanes first), and lets go
// of what it has drained.
func (t Table) Next(me string, dead map[string]bool, hand Hand) (next Table, changed bool) {
	next = t.clone()
	next.bury(me, dead)
	next.join(me, hand.Leaving)
	next.letGo(me, hand.Drained)
	next.give(me)
	next.take(me, hand)
	return next, !reflect.DeepEqual(t, next)
}

// Shares is how many lanes each worker should have, by id. Lanes are shared evenly; where
// that leaves a rest, the workers that keep the most get one more each (of equals, the
// smaller id), so that no lane moves without need.
func (t Table) Shares() map[string]int {
	kept := t.kept()
	shares := make(map[string]int, len(t.Workers))
	var ids []string
	for id, w := range t.Workers {
		shares[id] = 0
		if !w.Leaving {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return shares
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(kept[b], kept[a]), cmp.Compare(a, b))
	})
	each, rest := len(t.Lanes)/len(ids), len(t.Lanes)%len(ids)
	for i, id := range ids {
		shares[id] = each
		if i < rest {
			shares[id]++
		}
	}
	return shares
}

// without is the table after a worker has left.
func (t Table) without(id string) (next Table, changed bool) {
	_, there := t.Workers[id]
	next = t.clone()
	delete(next.Workers, id)
	next.freeStray()
	return next, there
}

func (t Table) clone() Table {
	c := Table{Workers: make(map[string]Worker, len(t.Workers)+1), Lanes: slices.Clone(t.Lanes)}
	for id, w := range t.Workers {
		w.Giving, w.Counted = slices.Clone(w.Giving), maps.Clone(w.Counted)
		c.Workers[id] = w
	}
	if t.Counts != nil {
		c.Counts = &config.Counts{Since: t.Counts.Since, Duplicates: maps.Clone(t.Counts.Duplicates)}
	}
	return c
}

// kept is how many lanes each worker owns and does not give up.
func (t Table) kept() map[string]int {
	kept := make(map[string]int, len(t.Workers))
	for _, id := range t.Lanes {
		if id != "" {
			kept[id]++
		}
	}
	for id, w := range t.Workers {
		kept[id] -= len(w.Giving)
	}
	return kept
}

// wants says that the worker should have more lanes than it keeps.
func (t Table) wants(id string) bool { return t.kept()[id] < t.Shares()[id] }

// owns says that the lane is the worker's, be it one that it gives up.
func (t Table) owns(id string, lane int) bool {
	return lane >= 0 && lane < len(t.Lanes) && t.Lanes[lane] == id
}

func (t Table) gives(id string, lane int) bool { return slices.Contains(t.Workers[id].Giving, lane) }

func (t Table) bury(me string, dead map[string]bool) {
	maps.DeleteFunc(t.Workers, func(id string, _ Worker) bool { return id != me && dead[id] })
	t.freeStray()
}

// freeStray frees lanes whose owner does not take part.
func (t Table) freeStray() {
	for lane, id := range t.Lanes {
		if _, ok := t.Workers[id]; !ok {
			t.Lanes[lane] = ""
		}
	}
}

func (t Table) join(me string, leaving bool) {
	w := t.Workers[me]
	w.Leaving = w.Leaving || leaving
	t.Workers[me] = w
}

func (t Table) letGo(me string, drained map[int]bool) {
	for lane, id := range t.Lanes {
		if id == me && drained[lane] {
			t.Lanes[lane] = ""
		}
	}
	w := t.Workers[me]
	w.Giving = slices.DeleteFunc(w.Giving, func(lane int) bool { return !t.owns(me, lane) })
	if len(w.Giving) == 0 {
		w.Giving = nil
	}
	t.Workers[me] = w
}

func (t Table) give(me string) {
	w := t.Workers[me]
	over := t.kept()[me] - t.Shares()[me]
	for lane := len(t.Lanes) - 1; lane >= 0 && over > 0; lane-- {
		if t.Lanes[lane] == me && !slices.Contains(w.Giving, lane) {
			w.Giving = append(w.Giving, lane)
			over--
		}
	}
	slices.Sort(w.Giving)
	t.Workers[me] = w
}

// take does not take what was let go of in the same move: to have drained a lane and to own
// it anew would look the same in the table.
func (t Table) take(me string, hand Hand) {
	under := t.Shares()[me] - t.kept()[me]
	for lane := 0; lane < len(t.Lanes) && under > 0; lane++ {
		if t.Lanes[lane] == "" && !hand.Drained[lane] && !hand.Stopping[lane] {
			t.Lanes[lane] = me
			under--
		}
	}
}

func (t Table) beat(me string) {
	w := t.Workers[me]
	w.Beat++
	t.Workers[me] = w
}
