package event

import "github.com/zeebo/xxh3"

// Held is how much memory contexts take, in bytes.
func (c *Contexts) Held() (n int) {
	for _, generation := range []map[xxh3.Uint128]*Prepared{c.young, c.old} {
		for _, p := range generation {
			n += len(p.encoded) + overhead
		}
	}
	return n
}
