package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNext(t *testing.T) {
	set := func(lanes ...int) map[int]bool {
		m := map[int]bool{}
		for _, lane := range lanes {
			m[lane] = true
		}
		return m
	}
	workers := func(ids ...string) map[string]Worker {
		m := map[string]Worker{}
		for _, id := range ids {
			m[id] = Worker{}
		}
		return m
	}
	for name, c := range map[string]struct {
		before Table
		me     string
		dead   map[string]bool
		hand   Hand
		want   Table
	}{
		"the first takes everything": {
			before: Table{Lanes: make([]string, 3)},
			me:     "a",
			want:   Table{Workers: workers("a"), Lanes: []string{"a", "a", "a"}},
		},
		"the second waits for lanes": {
			before: Table{Workers: workers("a"), Lanes: []string{"a", "a", "a"}},
			me:     "b",
			want:   Table{Workers: workers("a", "b"), Lanes: []string{"a", "a", "a"}},
		},
		"who has too many gives the highest": {
			before: Table{Workers: workers("a", "b"), Lanes: []string{"a", "a", "a", "a"}},
			me:     "a",
			want:   Table{Workers: map[string]Worker{"a": {Giving: []int{2, 3}}, "b": {}}, Lanes: []string{"a", "a", "a", "a"}},
		},
		"what is given stays until it is drained": {
			before: Table{Workers: map[string]Worker{"a": {Giving: []int{2, 3}}, "b": {}}, Lanes: []string{"a", "a", "a", "a"}},
			me:     "b",
			want:   Table{Workers: map[string]Worker{"a": {Giving: []int{2, 3}}, "b": {}}, Lanes: []string{"a", "a", "a", "a"}},
		},
		"what is drained is free": {
			before: Table{Workers: map[string]Worker{"a": {Giving: []int{2, 3}}, "b": {}}, Lanes: []string{"a", "a", "a", "a"}},
			me:     "a",
			hand:   Hand{Drained: set(3)},
			want:   Table{Workers: map[string]Worker{"a": {Giving: []int{2}}, "b": {}}, Lanes: []string{"a", "a", "a", ""}},
		},
		"what is free is taken": {
			before: Table{Workers: map[string]Worker{"a": {Giving: []int{2}}, "b": {}}, Lanes: []string{"a", "a", "a", ""}},
			me:     "b",
			want:   Table{Workers: map[string]Worker{"a": {Giving: []int{2}}, "b": {}}, Lanes: []string{"a", "a", "a", "b"}},
		},
		"the dead are taken out, their lanes taken up to the share": {
			before: Table{Workers: workers("a", "b", "c"), Lanes: []string{"a", "b", "b", "c", "c", "c"}},
			me:     "a",
			dead:   map[string]bool{"c": true},
			want:   Table{Workers: workers("a", "b"), Lanes: []string{"a", "b", "b", "a", "a", ""}},
		},
		"nobody holds itself for dead": {
			before: Table{Workers: workers("a"), Lanes: []string{"a"}},
			me:     "a",
			dead:   map[string]bool{"a": true},
			want:   Table{Workers: workers("a"), Lanes: []string{"a"}},
		},
		"what the holder still works on is not taken": {
			before: Table{Workers: workers("a"), Lanes: []string{"", ""}},
			me:     "a",
			hand:   Hand{Stopping: set(0)},
			want:   Table{Workers: workers("a"), Lanes: []string{"", "a"}},
		},
		"what was let go of is not taken in the same move": {
			before: Table{Workers: workers("a"), Lanes: []string{"a", "a"}},
			me:     "a",
			hand:   Hand{Drained: set(0)},
			want:   Table{Workers: workers("a"), Lanes: []string{"", "a"}},
		},
		"who leaves gives everything": {
			before: Table{Workers: workers("a", "b"), Lanes: []string{"a", "b", ""}},
			me:     "a",
			hand:   Hand{Leaving: true},
			want:   Table{Workers: map[string]Worker{"a": {Leaving: true, Giving: []int{0}}, "b": {}}, Lanes: []string{"a", "b", ""}},
		},
		"lanes of the unknown are free": {
			before: Table{Workers: workers("a"), Lanes: []string{"a", "z"}},
			me:     "a",
			want:   Table{Workers: workers("a"), Lanes: []string{"a", "a"}},
		},
		"more workers than lanes: who has one keeps it": {
			before: Table{Workers: workers("a", "b", "c"), Lanes: []string{"b", "c"}},
			me:     "a",
			want:   Table{Workers: workers("a", "b", "c"), Lanes: []string{"b", "c"}},
		},
		"the rest stays where it is": {
			before: Table{Workers: workers("a", "b", "c"), Lanes: []string{"a", "a", "b", "b", "b", "c", "c", "c"}},
			me:     "b",
			want:   Table{Workers: workers("a", "b", "c"), Lanes: []string{"a", "a", "b", "b", "b", "c", "c", "c"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			unchanged := c.before.clone()
			got, changed := c.before.Next(c.me, c.dead, c.hand)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want := !cmp.Equal(c.before, got); changed != want {
				t.Errorf("changed is %v, want %v", changed, want)
			}
			if c.before.Workers != nil && !cmp.Equal(unchanged, c.before) {
				t.Errorf("the version before was changed: %v", c.before)
			}
		})
	}
}

// world is a table and the workers around it, with no server and no time: who moves when is
// drawn by lot. It uses what Run uses, Next and the phases.
type world struct {
	t       testing.TB
	rand    *rand.Rand
	table   Table
	version uint64
	workers map[string]*player
	dead    map[string]bool
	born    int
	taken   int // calls of Acquire
	log     []entry
}

type entry struct {
	id   string
	dead map[string]bool
	next Table
}

// player is a worker and its holder.
type player struct {
	w     *world
	k     *Keeper
	holds map[int]bool
	busy  []int // released or lost, not yet drained
}

func newWorld(t testing.TB, seed uint64, lanes int) *world {
	return &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), table: Table{Lanes: make([]string, lanes)},
		workers: map[string]*player{}, dead: map[string]bool{},
	}
}

func (w *world) join() string {
	id := fmt.Sprintf("w%d-%d", (w.born*7)%10, w.born) // ids in no order
	w.born++
	w.workers[id] = &player{
		w: w, holds: map[int]bool{},
		k: &Keeper{o: Options{Worker: id}, poked: make(chan struct{}, 1), phases: make([]phase, len(w.table.Lanes))},
	}
	return id
}

func (p *player) Acquire(lane int) {
	if p.holds[lane] {
		p.w.fatal("%s acquires %d twice", p.k.o.Worker, lane)
	}
	p.holds[lane] = true
	p.w.taken++
}

func (p *player) Release(lane int) { p.end(lane) }

func (p *player) Lost(lane int) {
	if !slices.Contains(p.busy, lane) {
		p.end(lane)
	}
}

func (p *player) end(lane int) {
	if !p.holds[lane] {
		p.w.fatal("%s is to end %d, which it does not hold", p.k.o.Worker, lane)
	}
	p.busy = append(p.busy, lane)
}

func (p *player) line() {
	for _, c := range p.k.line(p.w.table, p.w.version, p) {
		c.do(c.lane)
	}
}

func (p *player) drain(n int) {
	for ; n > 0 && len(p.busy) > 0; n-- {
		lane := p.busy[0]
		p.busy = p.busy[1:]
		delete(p.holds, lane)
		p.k.Released(lane)
	}
}

// move lets a worker look and write; dead are those that it takes for dead.
func (w *world) move(id string, dead map[string]bool) (changed bool) {
	p := w.workers[id]
	p.line()
	next, changed := w.table.Next(id, dead, p.k.hand())
	w.log = append(w.log, entry{id, maps.Clone(dead), next})
	w.check(id, dead, next)
	w.table = next
	w.version++
	p.line()
	return changed
}

// check holds one move to the promises.
func (w *world) check(id string, dead map[string]bool, next Table) {
	for lane, owner := range next.Lanes {
		before := w.table.Lanes[lane]
		_, known := next.Workers[owner]
		_, knew := w.table.Workers[before]
		switch {
		case owner != "" && !known:
			w.fatal("lane %d is of %s, who does not take part", lane, owner)
		case owner == before:
		case owner != "" && owner != id:
			w.fatal("%s gave lane %d to %s", id, lane, owner)
		case before != "" && before != id && knew && !dead[before]:
			w.fatal("%s took lane %d from %s, who lives", id, lane, before)
		case before == id && w.workers[id].holds[lane]:
			w.fatal("%s let go of lane %d before it had drained it", id, lane)
		}
	}
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	for _, e := range w.log[max(0, len(w.log)-12):] {
		w.t.Log(e.id, "dead", slices.Sorted(maps.Keys(e.dead)), "->", e.next)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) any() string {
	ids := slices.Sorted(maps.Keys(w.workers))
	return ids[w.rand.IntN(len(ids))]
}

func (w *world) round() (changed bool) {
	ids := slices.Sorted(maps.Keys(w.workers))
	w.rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		w.workers[id].drain(len(w.table.Lanes))
		changed = w.move(id, w.dead) || changed
	}
	return changed
}

// fair is what is wrong with the table, when nothing has changed for long.
func (w *world) fair() string {
	low, high := len(w.table.Lanes), 0
	for _, id := range slices.Sorted(maps.Keys(w.workers)) {
		n := 0
		for lane, owner := range w.table.Lanes {
			if owner == id {
				n++
				if !w.workers[id].holds[lane] {
					return fmt.Sprintf("%s does not hold its lane %d", id, lane)
				}
			}
		}
		if len(w.workers[id].holds) != n {
			return fmt.Sprintf("%s holds %v, the table says %d", id, w.workers[id].holds, n)
		}
		low, high = min(low, n), max(high, n)
	}
	if high-low > 1 {
		return fmt.Sprintf("shares from %d to %d", low, high)
	}
	if slices.Contains(w.table.Lanes, "") {
		return "a lane has no owner"
	}
	return ""
}

func (w *world) settle(rounds int) {
	w.t.Helper()
	for range rounds {
		if !w.round() {
			break
		}
	}
	if problem := w.fair(); problem != "" {
		w.fatal("after %d rounds: %s", rounds, problem)
	}
	if w.round() {
		w.fatal("the table changes when nothing happens")
	}
}

// step does one thing at random.
func (w *world) step() {
	if len(w.workers) == 0 {
		w.join()
	}
	id := w.any()
	switch w.rand.IntN(20) {
	case 0:
		if len(w.workers) < 12 {
			w.join()
		}
	case 1: // it dies
		delete(w.workers, id)
		w.dead[id] = true
	case 2: // it leaves
		delete(w.workers, id)
		w.table, _ = w.table.without(id)
	case 3: // it is taken for dead, but lives
		if other := w.any(); other != id {
			w.move(id, map[string]bool{other: true})
		}
	case 4, 5, 6, 7:
		w.workers[id].drain(1)
	case 8: // it has not noticed yet who is dead
		w.move(id, nil)
	default:
		w.move(id, w.dead)
	}
}

// rounds is in how many rounds of all workers the shares are fair again, whatever happened: to
// join, to give, to let go, to take; twice to give when others gave first. 5 are enough for
// every walk here.
const rounds = 6

func TestRandomWalk(t *testing.T) {
	for seed := range uint64(500) {
		w := newWorld(t, seed, 1+int(seed%17))
		for range 200 {
			w.step()
		}
		if len(w.workers) == 0 {
			w.join()
		}
		w.settle(rounds)
	}
}

func TestNoLaneMovesWithoutNeed(t *testing.T) {
	for seed := range uint64(300) {
		lanes, workers := 1+int(seed%32), 1+int(seed/7%9)
		w := newWorld(t, seed, lanes)
		for range workers {
			w.join()
			w.settle(rounds)
		}
		w.taken = 0
		var want int
		switch {
		case seed%3 == 0:
			w.join()
			want = lanes / (workers + 1)
		case workers > 1:
			id := w.any()
			want = len(w.workers[id].holds)
			delete(w.workers, id)
			if seed%3 == 1 {
				w.dead[id] = true
			} else {
				w.table, _ = w.table.without(id)
			}
		}
		for range 100 { // in no order, and slowly drained
			if id := w.any(); w.rand.IntN(3) == 0 {
				w.workers[id].drain(1)
			} else {
				w.move(id, w.dead)
			}
		}
		w.settle(rounds)
		if w.taken != want {
			w.fatal("seed %d: %d lanes, %d workers: %d lanes moved, want %d", seed, lanes, workers, w.taken, want)
		}
	}
}

func TestRetiringHandsOverOneByOne(t *testing.T) {
	w := newWorld(t, 1, 8)
	a, b := w.join(), w.join()
	w.settle(rounds)
	w.workers[a].k.leaving = true
	w.move(a, nil)
	for left := 3; left >= 0; left-- {
		w.workers[a].drain(1)
		w.move(a, nil)
		w.move(b, nil)
		if got := w.table.kept()[b]; got != 8-left {
			w.fatal("%s has %d lanes, want %d", b, got, 8-left)
		}
	}
	if !w.workers[a].k.Idle() {
		t.Error("the one that left is not idle")
	}
}
