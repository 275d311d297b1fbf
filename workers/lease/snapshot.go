package lease

import "time"

// Snapshot is what the keeper saw last, for a status page.
type Snapshot struct {
	// Worker is the id of this one.
	Worker string `json:"worker"`
	// Held are the lanes that this one works on, be it to drain them. Ascending.
	Held []int `json:"held"`
	// Lanes has the owner of each lane; empty = nobody.
	Lanes []string `json:"lanes"`
	// Workers are all that take part, by id.
	Workers map[string]WorkerStatus `json:"workers"`
	// Revision of the table.
	Revision uint64 `json:"revision"`
	// Age is for how long the table was not seen. Zero when it never was.
	Age time.Duration `json:"ageNanoseconds"`
	// Problem: see Keeper.Problem.
	Problem string `json:"problem,omitempty"`
}

// WorkerStatus is one worker in a Snapshot.
type WorkerStatus struct {
	// Lanes it owns, Giving those of them that it drains. Ascending.
	Lanes  []int `json:"lanes"`
	Giving []int `json:"giving,omitempty"`
	// Share is how many it should have.
	Share int `json:"share"`
	// Leaving says that it gives up everything.
	Leaving bool `json:"leaving,omitempty"`
	// Silent is for how long its beat has not changed, as this worker sees it.
	Silent time.Duration `json:"silentNanoseconds"`
}

// Snapshot does not talk to NATS.
func (k *Keeper) Snapshot() Snapshot {
	now := k.o.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Snapshot{
		Worker: k.o.Worker, Lanes: append([]string{}, k.table.Lanes...), Workers: map[string]WorkerStatus{},
		Revision: k.revision, Problem: k.problem, Held: []int{},
	}
	if !k.watch.last.IsZero() {
		s.Age = now.Sub(k.watch.last)
	}
	for lane, p := range k.phases {
		if p == held || p == releasing || p == stopping {
			s.Held = append(s.Held, lane)
		}
	}
	shares := k.table.Shares()
	for id, w := range k.table.Workers {
		status := WorkerStatus{Lanes: []int{}, Giving: append([]int(nil), w.Giving...), Share: shares[id], Leaving: w.Leaving, Silent: k.watch.silent(id, now)}
		for lane, owner := range k.table.Lanes {
			if owner == id {
				status.Lanes = append(status.Lanes, lane)
			}
		}
		s.Workers[id] = status
	}
	return s
}
