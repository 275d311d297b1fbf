package event

import (
	"bytes"
	"math/rand/v2"

	"github.com/zeebo/xxh3"
)

// Contexts remembers what many events have in common, so that it is read once and not with each
// frame. It belongs to one decoder at a time.
//
// It keeps two generations: when the young one is full it becomes the old one, and what is used
// of that comes back. So what is used stays, and the rest is gone after a while.
//
// Contexts are told apart by a hash of 128 bits alone: to compare them would bring the memory of
// each one into the cache for each frame. The seed is random, so nobody can make two that collide.
type Contexts struct {
	seed       uint64
	young, old map[xxh3.Uint128]*Prepared
	bytes      int // of the young ones
	limit      int // of bytes
	// once are hashes of leads that came once, by their lowest bits; nil = none came.
	once *[onceSlots]uint64
	lead []byte // the lead in hand
}

const (
	onceSlots = 4096
	// overhead is what a context takes beside its bytes: its view, what is remembered of it, its
	// place in the map.
	overhead = 900
	// DefaultContexts is the memory of a decoder that nobody gave another.
	DefaultContexts = 4 << 20
)

// NewContexts returns an empty memory of so many bytes.
func NewContexts(bytes int) *Contexts {
	return &Contexts{seed: rand.Uint64(), limit: bytes / 2}
}

// find returns the context with this hash, or nil.
func (c *Contexts) find(hash xxh3.Uint128) *Prepared {
	if p := c.young[hash]; p != nil {
		return p
	}
	p := c.old[hash]
	if p != nil {
		c.keep(hash, p)
	}
	return p
}

// keep makes p one of the young.
func (c *Contexts) keep(hash xxh3.Uint128, p *Prepared) {
	if c.young == nil || c.bytes >= c.limit {
		c.old, c.young, c.bytes = c.young, make(map[xxh3.Uint128]*Prepared, len(c.young)), 0
	}
	c.young[hash] = p
	c.bytes += len(p.encoded) + overhead
}

// Prepare returns the context with these bytes, which are copied. It fails when they are malformed.
func (c *Contexts) Prepare(encoded []byte) (*Prepared, error) {
	hash := xxh3.Hash128Seed(encoded, c.seed)
	if p := c.find(hash); p != nil {
		return p, nil
	}
	p, err := Prepare(bytes.Clone(encoded))
	if err != nil {
		return nil, err
	}
	c.keep(hash, p)
	return p, nil
}

// often returns the lead with these bytes, which are copied, unless they come for the first time.
func (c *Contexts) often(encoded []byte) *Prepared {
	hash := xxh3.Hash128Seed(encoded, c.seed)
	if p := c.find(hash); p != nil {
		if p.source == nil {
			p.readHead()
		}
		return p
	}
	if c.once == nil {
		c.once = new([onceSlots]uint64)
	}
	if slot := &c.once[hash.Lo%onceSlots]; *slot != hash.Hi {
		*slot = hash.Hi
		return nil
	}
	p, err := prepareLead(bytes.Clone(encoded))
	if err != nil {
		return nil // it was read before: this cannot be
	}
	c.keep(hash, p)
	return p
}
