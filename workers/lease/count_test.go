package lease_test

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/lease"
)

// counter is the duplicates of one worker.
type counter struct{ n atomic.Uint64 }

func (c *counter) into(o *lease.Options) {
	o.Duplicates = func() map[string]uint64 {
		if n := c.n.Load(); n > 0 {
			return map[string]uint64{"validate": n}
		}
		return nil
	}
}

// counts reads what the operator reads.
func (r *rig) counts() *config.Counts {
	r.t.Helper()
	entry, err := r.kv().Get(r.t.Context(), key)
	if err != nil {
		return nil // no worker has written yet
	}
	return config.ParseCounts(entry.Value())
}

func (r *rig) wantDuplicates(want uint64) {
	r.t.Helper()
	eventually(r.t, 10*time.Second, func() string {
		if c := r.counts(); c == nil || c.Duplicates["validate"] != want || c.Since.IsZero() {
			return fmt.Sprintf("got %+v, want %d duplicates", c, want)
		}
		return ""
	})
}

// TestDuplicatesAreSummedUp: the table has the duplicates of all workers, those that left or died too, each once.
func TestDuplicatesAreSummedUp(t *testing.T) {
	r := newRig(t)
	r.bucket()
	var a, b, c counter
	first := r.add("a", 4, a.into)
	second := r.add("b", 4, b.into)
	wantShares(t, 5*time.Second, 4, []*worker{first, second}, 2, 2)
	a.n.Store(5)
	b.n.Store(2)
	r.wantDuplicates(7)
	since := r.counts().Since

	// One that leaves takes what it counted since its last beat into the table.
	a.n.Store(9)
	first.stop()
	if err := first.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantDuplicates(11)

	// One that dies leaves what it had told.
	b.n.Store(4)
	r.wantDuplicates(13)
	second.stop()
	third := r.add("c", 4, c.into)
	wantShares(t, 10*time.Second, 4, []*worker{third}, 4)
	c.n.Store(1)
	r.wantDuplicates(14)
	if got := r.counts().Since; !got.Equal(since) {
		t.Errorf("the count began at %s, want %s as before", got, since)
	}
}

// TestDuplicatesOfAWorkerThatIsTakenForDead count once, though it joins again.
func TestDuplicatesOfAWorkerThatIsTakenForDead(t *testing.T) {
	r := newRig(t)
	r.bucket()
	var a, b counter
	first, second := r.add("a", 2, a.into), r.add("b", 2, b.into)
	wantShares(t, 10*time.Second, 2, []*worker{first, second}, 1, 1) // what a worker had before it joined is not told
	a.n.Store(3)
	r.wantDuplicates(3)
	r.edit(func(table map[string]any) { delete(table["workers"].(map[string]any), "a") })
	a.n.Store(5)
	r.wantDuplicates(5)
}

// TestWorkersOfAnEarlierRelease know nothing of counts, and drop them when they write. The count begins anew, and
// lanes are shared as ever.
func TestWorkersOfAnEarlierRelease(t *testing.T) {
	r := newRig(t)
	r.bucket()
	var a counter
	worker1 := r.add("a", 2, a.into)
	a.n.Store(3)
	wantShares(t, 5*time.Second, 2, []*worker{worker1}, 2)
	r.edit(func(table map[string]any) {
		delete(table, "counts")
		for _, w := range table["workers"].(map[string]any) {
			delete(w.(map[string]any), "counted")
		}
	})
	eventually(t, 5*time.Second, func() string {
		if r.counts() == nil {
			return "the counts are not back"
		}
		return ""
	})
	before := r.counts().Duplicates["validate"]
	a.n.Add(4)
	r.wantDuplicates(before + 4)
	old := r.add("old", 2) // counts nothing
	wantShares(t, 5*time.Second, 2, []*worker{worker1, old}, 1, 1)
	a.n.Add(1)
	r.wantDuplicates(before + 5)
}

// edit changes the table behind the workers' back.
func (r *rig) edit(change func(map[string]any)) {
	r.t.Helper()
	eventually(r.t, 5*time.Second, func() string {
		entry, err := r.kv().Get(r.t.Context(), key)
		if err != nil {
			return err.Error()
		}
		var table map[string]any
		if err := json.Unmarshal(entry.Value(), &table); err != nil {
			return err.Error()
		}
		change(table)
		data, err := json.Marshal(table)
		if err != nil {
			return err.Error()
		}
		if _, err = r.kv().Update(r.t.Context(), key, data, entry.Revision()); err != nil {
			return err.Error()
		}
		return ""
	})
}
