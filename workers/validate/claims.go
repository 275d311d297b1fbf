package validate

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// claim is an id and when it was seen last.
type claim struct {
	id           [16]byte // of bytes, so that a claim takes no room for alignment
	at           uint32   // Unix milliseconds modulo 2^32
	older, newer uint32   // neighbours in the order of at: places, 0 = none
}

// claims are ids in the order in which they were seen last, with an index to find them by: 28
// bytes an id and 8 to 16 of the index (TestMemoryPerID). None of it holds pointers that
// the garbage collector would have to walk, but one for each chunk.
type claims struct {
	limit int
	// chunks hold the claims; a claim never moves. Its place is its number plus one.
	chunks         []*[chunkSize]claim
	oldest, newest uint32
	free           uint32 // the first place that is free again; the next is its newer
	size           int
	// slots are the index: places by hash, with linear probing; 0 = free. At most half of
	// them are taken: each step of a search is a cache miss.
	slots []uint32
}

const chunkSize = 4096

func newClaims(limit int) *claims { return &claims{limit: limit, slots: make([]uint32, 1024)} }

func (c *claims) full() bool { return c.size >= c.limit }

func (c *claims) at(place uint32) *claim {
	return &c.chunks[(place-1)/chunkSize][(place-1)%chunkSize]
}

func (c *claims) home(id *[16]byte) int {
	return int(binary.LittleEndian.Uint64(id[:])) & (len(c.slots) - 1)
}

func (c *claims) next(slot int) int { return (slot + 1) & (len(c.slots) - 1) }

// touch loads what find looks at first.
func (c *claims) touch(id *[16]byte) uint32 { return c.slots[c.home(id)] }

// find returns the place of an id, or 0.
func (c *claims) find(id *[16]byte) uint32 {
	for i := c.home(id); c.slots[i] != 0; i = c.next(i) {
		if c.at(c.slots[i]).id == *id {
			return c.slots[i]
		}
	}
	return 0
}

// see makes the id at a place the one that was seen last, at a time.
func (c *claims) see(place, at uint32) {
	c.at(place).at = at
	if place != c.newest {
		c.unlink(place)
		c.link(place)
	}
}

// add adds an id that is not there, to claims that are not full.
func (c *claims) add(id [16]byte, at uint32) {
	if 2*(c.size+1) > len(c.slots) {
		c.grow()
	}
	place := c.free
	if place != 0 {
		c.free = c.at(place).newer
	} else {
		if c.size%chunkSize == 0 { // nothing is free, so all that there are hold one
			c.chunks = append(c.chunks, new([chunkSize]claim))
		}
		place = uint32(c.size + 1)
	}
	*c.at(place) = claim{id: id, at: at}
	c.link(place)
	c.size++
	c.put(place)
}

// link puts a claim at the newest end.
func (c *claims) link(place uint32) {
	one := c.at(place)
	one.older, one.newer = c.newest, 0
	if c.newest != 0 {
		c.at(c.newest).newer = place
	} else {
		c.oldest = place
	}
	c.newest = place
}

func (c *claims) unlink(place uint32) {
	one := c.at(place)
	if one.older != 0 {
		c.at(one.older).newer = one.newer
	} else {
		c.oldest = one.newer
	}
	if one.newer != 0 {
		c.at(one.newer).older = one.older
	} else {
		c.newest = one.older
	}
}

// put enters a claim into the index.
func (c *claims) put(place uint32) {
	i := c.home(&c.at(place).id)
	for c.slots[i] != 0 {
		i = c.next(i)
	}
	c.slots[i] = place
}

func (c *claims) grow() {
	c.slots = make([]uint32, 2*len(c.slots))
	for place := c.oldest; place != 0; place = c.at(place).newer {
		c.put(place)
	}
}

// dropOldest forgets the oldest claim, which there must be.
func (c *claims) dropOldest() {
	place := c.oldest
	i := c.home(&c.at(place).id)
	for c.slots[i] != place {
		i = c.next(i)
	}
	c.vacate(i)
	c.unlink(place)
	c.at(place).newer, c.free = c.free, place
	c.size--
}

// vacate empties a slot and moves up what stands behind it for lack of room (Knuth, The Art
// of Computer Programming 3, 6.4, algorithm R).
func (c *claims) vacate(hole int) {
	mask := len(c.slots) - 1
	for i := c.next(hole); c.slots[i] != 0; i = c.next(i) {
		home := c.home(&c.at(c.slots[i]).id)
		if (i-home)&mask >= (i-hole)&mask {
			c.slots[hole], hole = c.slots[i], i
		}
	}
	c.slots[hole] = 0
}

// identity is the hash of an event's source and id.
func identity(b []byte) (id [16]byte) {
	h := xxh3.Hash128(b)
	binary.LittleEndian.PutUint64(id[:8], h.Lo)
	binary.LittleEndian.PutUint64(id[8:], h.Hi)
	return id
}
