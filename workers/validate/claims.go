package validate

import "github.com/zeebo/xxh3"

// claim is an id and the origin that first had it.
type claim struct {
	id       xxh3.Uint128
	sequence uint64
	place    uint32 // the input (high byte) and the index in the message
	at       uint32 // when it arrived: Unix milliseconds modulo 2^32
}

// claims are ids in the order of their arrival, with an index to find them by: 32 bytes an
// id and 8 to 16 of the index (TestMemoryPerID). None of it holds pointers that the
// garbage collector would have to walk, but one for each chunk.
type claims struct {
	limit int
	// chunks are a ring of limit claims, rounded up. A chunk that holds none is nil.
	chunks []*chunk
	spare  *chunk
	head   int // position of the oldest
	size   int
	// slots are the index: positions plus one by hash, with linear probing; 0 = free. At
	// most half of them are taken: each step of a search is a cache miss.
	slots []uint32
}

const chunkSize = 4096

type chunk [chunkSize]claim

func newClaims(limit int) *claims {
	// One chunk more than needed, so that head and tail never share one.
	return &claims{limit: limit, chunks: make([]*chunk, (limit+chunkSize-1)/chunkSize+1), slots: make([]uint32, 1024)}
}

func (c *claims) full() bool { return c.size >= c.limit }

func (c *claims) at(position int) *claim {
	return &c.chunks[position/chunkSize][position%chunkSize]
}

func (c *claims) oldest() *claim { return c.at(c.head) }

func (c *claims) home(id xxh3.Uint128) int { return int(id.Lo) & (len(c.slots) - 1) }

func (c *claims) next(slot int) int { return (slot + 1) & (len(c.slots) - 1) }

// find returns the claim of an id, or nil.
func (c *claims) find(id xxh3.Uint128) *claim {
	for i := c.home(id); c.slots[i] != 0; i = c.next(i) {
		if found := c.at(int(c.slots[i]) - 1); found.id == id {
			return found
		}
	}
	return nil
}

// add adds a claim whose id is not there, to claims that are not full.
func (c *claims) add(one claim) {
	if 2*(c.size+1) > len(c.slots) {
		c.grow()
	}
	position := (c.head + c.size) % (len(c.chunks) * chunkSize)
	if in := &c.chunks[position/chunkSize]; *in == nil {
		if *in, c.spare = c.spare, nil; *in == nil {
			*in = new(chunk)
		}
	}
	*c.at(position) = one
	c.size++
	c.put(position)
}

// put enters the claim at a position into the index.
func (c *claims) put(position int) {
	i := c.home(c.at(position).id)
	for c.slots[i] != 0 {
		i = c.next(i)
	}
	c.slots[i] = uint32(position + 1)
}

func (c *claims) grow() {
	c.slots = make([]uint32, 2*len(c.slots))
	for n := range c.size {
		c.put((c.head + n) % (len(c.chunks) * chunkSize))
	}
}

// dropOldest forgets the oldest claim, which there must be.
func (c *claims) dropOldest() {
	i := c.home(c.oldest().id)
	for c.slots[i] != uint32(c.head+1) {
		i = c.next(i)
	}
	c.free(i)
	last := c.head
	c.head = (c.head + 1) % (len(c.chunks) * chunkSize)
	c.size--
	if c.head/chunkSize != last/chunkSize {
		c.spare, c.chunks[last/chunkSize] = c.chunks[last/chunkSize], nil
	}
}

// free empties a slot and moves up what stands behind it for lack of room (Knuth, The Art
// of Computer Programming 3, 6.4, algorithm R).
func (c *claims) free(hole int) {
	mask := len(c.slots) - 1
	for i := c.next(hole); c.slots[i] != 0; i = c.next(i) {
		home := c.home(c.at(int(c.slots[i]) - 1).id)
		if (i-home)&mask >= (i-hole)&mask {
			c.slots[hole], hole = c.slots[i], i
		}
	}
	c.slots[hole] = 0
}
