package event

import "github.com/zeebo/xxh3"

// ContextBytes is what a decoder remembers of contexts, in bytes.
func (d *Decoder) ContextBytes() (n int) {
	for _, generation := range []map[xxh3.Uint128]*Prepared{d.contexts.young, d.contexts.old} {
		for _, p := range generation {
			n += len(p.encoded) + overhead
		}
	}
	return n
}
