package event

import (
	"bytes"
	"fmt"

	"github.com/zeebo/xxh3"
)

// Contexts remembers what many events have in common, so that it is read once and not with each
// frame. It belongs to one decoder at a time.
//
// It keeps two generations: when the young one is full it becomes the old one, and what is used
// of that comes back. So what is used stays, and the rest is gone after a while.
type Contexts struct {
	young, old map[uint64]*Prepared // by hash
	bytes      int                  // of the young ones
	limit      int                  // of bytes
	// once are hashes of leads that came once, by their lowest bits.
	once [onceSlots]uint32
}

const (
	onceSlots = 4096
	// overhead is what a context takes beside its bytes: its view, what is remembered of it, its
	// place in the map.
	overhead = 900
	// defaultContexts is the memory of a decoder that nobody gave another.
	defaultContexts = 4 << 20
)

// NewContexts returns an empty memory of so many bytes.
func NewContexts(bytes int) *Contexts {
	return &Contexts{young: map[uint64]*Prepared{}, limit: bytes / 2}
}

// find returns the context with these bytes, or nil.
func (c *Contexts) find(hash uint64, encoded []byte) *Prepared {
	if p := c.young[hash]; p != nil && bytes.Equal(p.encoded, encoded) {
		return p
	}
	if p := c.old[hash]; p != nil && bytes.Equal(p.encoded, encoded) {
		c.keep(hash, p)
		return p
	}
	return nil
}

// keep makes p one of the young.
func (c *Contexts) keep(hash uint64, p *Prepared) {
	if c.bytes >= c.limit {
		c.old, c.young, c.bytes = c.young, make(map[uint64]*Prepared, len(c.young)), 0
	}
	c.young[hash] = p
	c.bytes += len(p.encoded) + overhead
}

// context returns the context with these bytes, which are copied. It fails when they are malformed.
func (c *Contexts) context(encoded []byte) (*Prepared, error) {
	hash := xxh3.Hash(encoded)
	if p := c.find(hash, encoded); p != nil {
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
	hash := xxh3.Hash(encoded)
	if p := c.find(hash, encoded); p != nil {
		if p.head == nil {
			p.readHead()
		}
		return p
	}
	if slot := &c.once[hash%onceSlots]; *slot != uint32(hash>>32) {
		*slot = uint32(hash >> 32)
		return nil
	}
	p, err := prepareLead(bytes.Clone(encoded))
	if err != nil {
		return nil // it was read before: this cannot be
	}
	c.keep(hash, p)
	return p
}

// all appends the n contexts of a frame to dst.
func (c *Contexts) all(dst []*Prepared, rest []byte) ([]*Prepared, error) {
	f := fields{rest: rest}
	for f.next() {
		if !f.is(fieldFrameContexts, wireBytes) {
			continue
		}
		p, err := c.context(f.v)
		if err != nil {
			return nil, fmt.Errorf("frame: context %d: %w", len(dst), err)
		}
		dst = append(dst, p)
	}
	return dst, nil
}
