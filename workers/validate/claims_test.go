package validate

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/zeebo/xxh3"
)

// TestClaimsAgainstAMap does the same to claims and to a map with a list.
func TestClaimsAgainstAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	c, want, order := newClaims(10_000), map[xxh3.Uint128]uint64{}, []xxh3.Uint128{}
	drop := func() {
		delete(want, order[0])
		order = order[1:]
		c.dropOldest()
	}
	for n := range uint64(200_000) {
		// Few homes, so that searches and removals meet clusters that wrap around.
		id := xxh3.Uint128{Hi: r.Uint64N(40_000), Lo: r.Uint64N(300) * 0x9e3779b9}
		got := c.find(id)
		if sequence, ok := want[id]; ok != (got != nil) || (ok && got.sequence != sequence) {
			t.Fatalf("step %d: found %v, want %d, %t", n, got, sequence, ok)
		}
		if got == nil {
			if c.full() {
				drop()
			}
			c.add(claim{id: id, sequence: n})
			want[id], order = n, append(order, id)
		}
		for n%50_000 > 40_000 && len(order) > 10 && r.IntN(3) > 0 { // now and then it nearly empties
			drop()
		}
		if c.size != len(want) {
			t.Fatalf("step %d: %d claims, want %d", n, c.size, len(want))
		}
	}
}

// TestMemoryPerID holds the documented figure at the two ends of the index's load.
func TestMemoryPerID(t *testing.T) {
	for name, ids := range map[string]uint64{"index half full": 1 << 18, "index just grown": 1<<18 + 1} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			c := newClaims(2_000_000)
			for n := range ids {
				c.add(claim{id: xxh3.Uint128{Hi: n, Lo: n * 0x9e3779b97f4a7c15}})
			}
			per := float64(heap()-before) / float64(ids)
			runtime.KeepAlive(c)
			if per > 49 {
				t.Errorf("an id takes %.1f bytes, documented are 48", per)
			}
			t.Logf("%.1f bytes per id", per)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
