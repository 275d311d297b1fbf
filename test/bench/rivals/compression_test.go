package rivals

import (
	"fmt"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minlz"
	"github.com/pierrec/lz4/v4"
)

// codec compresses a block into dst, which is large enough, and back.
type codec struct {
	name                 string
	compress, decompress func(dst, src []byte) ([]byte, error)
}

func codecs(b *testing.B) []codec {
	b.Helper()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	var compressor lz4.Compressor
	return []codec{
		{
			"s2",
			func(dst, src []byte) ([]byte, error) { return s2.Encode(dst, src), nil },
			func(dst, src []byte) ([]byte, error) { return s2.Decode(dst, src) },
		},
		{
			"s2-better",
			func(dst, src []byte) ([]byte, error) { return s2.EncodeBetter(dst, src), nil },
			func(dst, src []byte) ([]byte, error) { return s2.Decode(dst, src) },
		},
		{
			"minlz-fastest",
			func(dst, src []byte) ([]byte, error) { return minlz.Encode(dst, src, minlz.LevelFastest) },
			func(dst, src []byte) ([]byte, error) { return minlz.Decode(dst, src) },
		},
		{
			"lz4",
			func(dst, src []byte) ([]byte, error) {
				n, err := compressor.CompressBlock(src, dst)
				return dst[:n], err
			},
			func(dst, src []byte) ([]byte, error) {
				n, err := lz4.UncompressBlock(src, dst)
				return dst[:n], err
			},
		},
		{
			"zstd-fastest",
			func(dst, src []byte) ([]byte, error) { return encoder.EncodeAll(src, dst[:0]), nil },
			func(dst, src []byte) ([]byte, error) { return decoder.DecodeAll(src, dst[:0]) },
		},
	}
}

// BenchmarkCompression takes the frames of each stream through what could compress them. MB/s are
// of what is not compressed; "size-%" is what is left of it.
func BenchmarkCompression(b *testing.B) {
	for _, stream := range []string{"validated", "enriched"} {
		frames := plainFrames(b, stream)
		var total int64
		for _, f := range frames {
			total += int64(len(f))
		}
		for _, c := range codecs(b) {
			packed := make([][]byte, len(frames))
			into, back := make([]byte, 4<<20), make([]byte, 4<<20)
			b.Run(fmt.Sprintf("%s/%s/compress", stream, c.name), func(b *testing.B) {
				b.SetBytes(total)
				var left int
				for b.Loop() {
					left = 0
					for _, f := range frames {
						out, err := c.compress(into, f)
						if err != nil {
							b.Fatal(err)
						}
						left += len(out)
					}
				}
				b.ReportMetric(100*float64(left)/float64(total), "size-%")
			})
			for i, f := range frames {
				out, err := c.compress(into, f)
				if err != nil {
					b.Fatal(err)
				}
				packed[i] = append([]byte(nil), out...)
				if out, err = c.decompress(back[:len(f)], packed[i]); err != nil || string(out) != string(f) {
					b.Fatalf("%s, frame %d: not the same after compression: %v", c.name, i, err)
				}
			}
			b.Run(fmt.Sprintf("%s/%s/decompress", stream, c.name), func(b *testing.B) {
				b.SetBytes(total)
				for b.Loop() {
					for i, p := range packed {
						if _, err := c.decompress(back[:len(frames[i])], p); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
