// Package rivals measures what the frames of Millrace could have been encoded and compressed with
// instead. It is a module of its own, so that nothing that is only compared is a dependency;
// `make bench-rivals` makes its input and runs it.
package rivals

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/s2"
)

var dir = flag.String("frames", "", "folder with the frames that BenchmarkHops kept: STREAM-N.frame")

// readFrames are the frames of a stream: raw, validated or enriched.
func readFrames(b *testing.B, stream string) (frames [][]byte) {
	b.Helper()
	paths, err := filepath.Glob(filepath.Join(*dir, stream+"-*.frame"))
	if err != nil || len(paths) == 0 {
		b.Fatalf("no frames of %s in -frames %q (make bench-rivals makes them): %v", stream, *dir, err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		frames = append(frames, content)
	}
	return frames
}

// plainFrames are the same before compression.
func plainFrames(b *testing.B, stream string) [][]byte {
	b.Helper()
	frames := readFrames(b, stream)
	for i, f := range frames {
		plain, err := s2.Decode(nil, f)
		if err != nil {
			b.Fatal(err)
		}
		frames[i] = plain
	}
	return frames
}
