package validate

import (
	"container/list"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestClaimsAgainstAMap does the same to claims and to a map with a list.
func TestClaimsAgainstAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	c, want, order := newClaims(10_000), map[[16]byte]uint32{}, list.New()
	places := map[[16]byte]*list.Element{}
	drop := func() {
		id := order.Remove(order.Front()).([16]byte)
		delete(want, id)
		delete(places, id)
		c.dropOldest()
	}
	for n := range uint32(200_000) {
		// Few homes, so that searches and removals meet clusters that wrap around.
		var id [16]byte
		binary.LittleEndian.PutUint64(id[:8], r.Uint64N(300)*0x9e3779b9)
		binary.LittleEndian.PutUint64(id[8:], r.Uint64N(40_000))
		place := c.find(&id)
		at, ok := want[id]
		if ok != (place != 0) || (ok && c.at(place).at != at) {
			t.Fatalf("step %d: found place %d, want %d, %t", n, place, at, ok)
		}
		want[id] = n
		if ok {
			c.see(place, n)
			order.MoveToBack(places[id])
		} else {
			if c.full() {
				drop()
			}
			c.add(id, n)
			places[id] = order.PushBack(id)
		}
		for n%50_000 > 40_000 && order.Len() > 10 && r.IntN(3) > 0 { // now and then it nearly empties
			drop()
		}
		if c.size != len(want) {
			t.Fatalf("step %d: %d claims, want %d", n, c.size, len(want))
		}
	}
	for c.size > 0 {
		if got, want := c.at(c.oldest).id, order.Front().Value.([16]byte); got != want {
			t.Fatalf("with %d claims left the oldest is %x, want %x", c.size, got, want)
		}
		drop()
	}
}

// TestMemoryPerID holds the documented figure at the two ends of the index's load:
// go test -v -run TestMemoryPerID ./workers/validate
func TestMemoryPerID(t *testing.T) {
	for name, ids := range map[string]uint64{"index full": 3 << 17, "index just grown": 3<<17 + 1} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			c := newClaims(2_000_000)
			for n := range ids {
				c.add(identity(binary.AppendUvarint(nil, n)), 0)
			}
			per := float64(heap()-before) / float64(ids)
			runtime.KeepAlive(c)
			if per > 50 {
				t.Errorf("an id takes %.1f bytes, documented are 50", per)
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

// BenchmarkClaims is what a new id costs when 2,000,000 are remembered: look-up, the oldest out, the new one in.
func BenchmarkClaims(b *testing.B) {
	c, n := newClaims(defaultMaxEntries), uint64(0)
	one := func() {
		n++
		id := identity(binary.AppendUvarint(make([]byte, 0, 16), n))
		if c.find(&id) != 0 {
			b.Fatal("an id was seen before")
		}
		if c.full() {
			c.dropOldest()
		}
		c.add(id, uint32(n))
	}
	for range defaultMaxEntries {
		one()
	}
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}
