package file

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
)

// BenchmarkStore has the sink store steps of 8,192 lines of 500 bytes, each of which waits for the disk.
func BenchmarkStore(b *testing.B) {
	const step = 8192
	var rows []any
	for i := range step {
		line := `{"specversion":"1.0","id":"` + strconv.Itoa(i) + `","data":{"body":"`
		rows = append(rows, []byte(line+strings.Repeat("order was placed; ", 28)[:500-len(line)-4]+"\"}}\n"))
	}
	for name, compression := range map[string]config.Compression{"plain": "", "zstd": config.CompressionZstd} {
		b.Run(name, func(b *testing.B) {
			to, err := New(&config.FileSink{Path: filepath.Join(b.TempDir(), "events"), Compression: compression, RotateSize: 256 << 20}, "a/b/c", time.Now, nil)
			if err != nil {
				b.Fatal(err)
			}
			at := ""
			for n := 0; b.Loop(); n++ {
				next := strconv.Itoa(n)
				if err := to.Store(b.Context(), "a/b/c", rows, at, next); err != nil {
					b.Fatal(err)
				}
				at = next
			}
			b.ReportMetric(float64(b.N)*step/b.Elapsed().Seconds(), "events/s")
		})
	}
}
