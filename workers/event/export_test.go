package event

import (
	"github.com/klauspost/compress/s2"
	"github.com/zeebo/xxh3"
)

// ContextBytes is what a decoder remembers of contexts, in bytes.
func (d *Decoder) ContextBytes() (n int) {
	for _, generation := range []map[xxh3.Uint128]*Prepared{d.contexts.young, d.contexts.old} {
		for _, p := range generation {
			n += len(p.encoded) + overhead
		}
	}
	return n
}

// ReadFrameHeader returns the header of a frame.
func ReadFrameHeader(block []byte) (FrameHeader, error) {
	b, err := s2.Decode(nil, block)
	if err != nil {
		return FrameHeader{}, err
	}
	h, _, err := readFrameHeader(b)
	return h, err
}
