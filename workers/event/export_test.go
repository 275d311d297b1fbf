package event

// ContextBytes is what a decoder remembers of contexts, in bytes.
func (d *Decoder) ContextBytes() (n int) {
	for _, generation := range []map[uint64]*Prepared{d.contexts.young, d.contexts.old} {
		for _, p := range generation {
			n += len(p.encoded) + overhead
		}
	}
	return n
}
