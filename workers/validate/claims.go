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

// slot is an entry of the index.
type slot struct {
	tag   uint32 // the first bytes of the id: where it is at home, and mostly all it takes to tell it from others
	place uint32 // 0 = free
}

// claims are ids in the order in which they were seen last, with an index to find them by: 28
// bytes an id and 11 to 22 of the index (TestMemoryPerID). None of it holds pointers that
// the garbage collector would have to walk, but one for each chunk.
type claims struct {
	limit int
	// chunks hold the claims; a claim never moves. Its place is its number plus one.
	chunks         []*[chunkSize]claim
	oldest, newest uint32
	free           uint32 // the first place that is free again; the next is its newer
	size           int
	// slots are the index: places by tag, with linear probing. At most three in four are taken. A
	// claim is looked at for an id that is there, and next to never for another one: that would be a
	// cache miss, where the next slot mostly is in the same line.
	slots []slot
}

const chunkSize = 4096

func newClaims(limit int) *claims { return &claims{limit: limit, slots: make([]slot, 1024)} }

func (c *claims) full() bool { return c.size >= c.limit }

func (c *claims) at(place uint32) *claim {
	return &c.chunks[(place-1)/chunkSize][(place-1)%chunkSize]
}

func tagOf(id *[16]byte) uint32 { return binary.LittleEndian.Uint32(id[:]) }

func (c *claims) home(tag uint32) int { return int(tag) & (len(c.slots) - 1) }

func (c *claims) next(at int) int { return (at + 1) & (len(c.slots) - 1) }

// touch loads the slot of the index that find will read first.
func (c *claims) touch(id *[16]byte) uint32 { return c.slots[c.home(tagOf(id))].place }

// touchOldest loads what dropOldest looks at in its next n calls.
func (c *claims) touchOldest(n int) (touched uint32) {
	for place := c.oldest; place != 0 && n > 0; n-- {
		one := c.at(place)
		touched += c.touch(&one.id)
		place = one.newer
	}
	return touched
}

// find returns the place of an id, or 0.
func (c *claims) find(id *[16]byte) uint32 {
	tag := tagOf(id)
	for i := c.home(tag); ; i = c.next(i) {
		s := c.slots[i]
		if s.place == 0 || (s.tag == tag && c.at(s.place).id == *id) {
			return s.place
		}
	}
}

// see makes the id at a place the one that was seen last, at a time.
func (c *claims) see(place, at uint32) {
	c.at(place).at = at
	if place != c.newest {
		c.unlink(place)
		c.link(place)
	}
}

// setBack is for a clock that was set back by some milliseconds: what was seen later than now counts as
// seen now. These are the newest, so that the order stays.
func (c *claims) setBack(before, now uint32, by int64) {
	for place := c.newest; place != 0 && int64(before-c.at(place).at) < by; place = c.at(place).older {
		c.at(place).at = now
	}
}

// add adds an id that is not there, to claims that are not full.
func (c *claims) add(id [16]byte, at uint32) {
	if 4*(c.size+1) > 3*len(c.slots) {
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
	c.put(slot{tagOf(&id), place})
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
func (c *claims) put(s slot) {
	i := c.home(s.tag)
	for c.slots[i].place != 0 {
		i = c.next(i)
	}
	c.slots[i] = s
}

// grow doubles the index. What stood together stands together again, so that it goes through
// memory from one end to the other.
func (c *claims) grow() {
	before := c.slots
	c.slots = make([]slot, 2*len(before))
	for _, s := range before {
		if s.place != 0 {
			c.put(s)
		}
	}
}

// dropOldest forgets the oldest claim, which there must be.
func (c *claims) dropOldest() {
	place := c.oldest
	i := c.home(tagOf(&c.at(place).id))
	for c.slots[i].place != place {
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
	for i := c.next(hole); c.slots[i].place != 0; i = c.next(i) {
		home := c.home(c.slots[i].tag)
		if (i-home)&mask >= (i-hole)&mask {
			c.slots[hole], hole = c.slots[i], i
		}
	}
	c.slots[hole] = slot{}
}

// identity is the hash of an event's source and id. The seed keeps who may publish from making two ids with one hash,
// by which one event would swallow another.
func identity(b []byte, seed uint64) (id [16]byte) {
	h := xxh3.Hash128Seed(b, seed)
	binary.LittleEndian.PutUint64(id[:8], h.Lo)
	binary.LittleEndian.PutUint64(id[8:], h.Hi)
	return id
}
