package validate

import (
	"container/list"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
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
				c.add(identity(binary.AppendUvarint(nil, n), 0), 0)
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
		id := identity(binary.AppendUvarint(make([]byte, 0, 16), n), 0)
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

// secret are the first bytes of the secret of XXH3 (xxHash, xxhash.h: XXH3_kSecret).
var secret = [64]byte{
	0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
	0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
	0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
	0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
}

// TestIDsThatAreMadeToCollide: XXH3 multiplies a half of each 16 bytes, combined with its secret, with the other
// half. Where the first is the secret the product is 0, whatever the second is: without a seed, anyone can make ids that
// have the hash of another one.
func TestIDsThatAreMadeToCollide(t *testing.T) {
	word := binary.LittleEndian.Uint64
	product := func(b []byte, at int) uint64 { // of two words of b with the secret
		high, low := bits.Mul64(word(b)^word(secret[at:]), word(b[8:])^word(secret[at+8:]))
		return high ^ low
	}
	made := func(x uint64) *event.Event {
		source := strings.Repeat("s", 31)
		b := append([]byte{31}, source...) // with 32 bytes of the id behind: what is hashed
		b = append(b, secret[48:56]...)
		b = binary.LittleEndian.AppendUint64(b, x)
		b = append(b, secret[16:24]...)
		// What x changes in one word of the hash the last eight bytes take back.
		prime, size := uint64(0x9E3779B185EBCA87), uint64(64)
		sum := ((prime*size + product(b[16:], 32)) ^ (word(b[32:]) + x)) + product(b, 0)
		b = binary.LittleEndian.AppendUint64(b, sum-word(secret[16:]))
		return &event.Event{Source: source, ID: string(b[32:])}
	}
	unseeded := newDedupe(config.Dedupe{}, stage.Settings{})
	unseeded.seed = 0
	one, another := made(1), made(2)
	if one.ID == another.ID || unseeded.hash(one) != unseeded.hash(another) {
		t.Fatal("the two ids do not collide without a seed: the test is wrong")
	}
	d := newDedupe(config.Dedupe{}, stage.Settings{})
	if d.hash(one) == d.hash(another) {
		t.Error("one id is taken for another")
	}
}
