package sinks

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
	"k8s.io/apimachinery/pkg/api/resource"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/postgres"
)

func targets() map[string]func(*testing.T) target {
	return map[string]func(*testing.T) target{
		"postgres": func(t *testing.T) target { return &database{server: postgres.Start(t, postgres.NoSync)} },
		"file":     func(t *testing.T) target { return &files{dir: t.TempDir()} },
		"file, compressed": func(t *testing.T) target {
			return &files{dir: t.TempDir(), compression: v1alpha1.CompressionZstd}
		},
		"http": newReceiver,
		"nats": newArchive,
	}
}

// database refuses events by a constraint.
type database struct{ server *postgres.Server }

func (d *database) spec(t *testing.T, dir string) *v1alpha1.SinkSpec {
	t.Helper()
	c, err := pgx.Connect(t.Context(), d.server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), "CREATE TABLE events (id text, subject text CHECK (subject <> 'bad'))"); err != nil {
		t.Fatal(err)
	}
	return &v1alpha1.SinkSpec{Postgres: &v1alpha1.PostgresSinkSpec{
		URLSecretRef: writeSecret(t, dir, "warehouse", "url", d.server.URL("postgres")), Table: "events", CreateTable: true,
	}}
}

// fault kills the server, or freezes it for a while.
func (d *database) fault(ctx context.Context, lot *rand.Rand) error {
	away := time.Duration(lot.IntN(800)) * time.Millisecond
	if lot.IntN(4) == 0 {
		if err := d.server.Freeze(); err != nil {
			return err
		}
		time.Sleep(away)
		return d.server.Thaw()
	}
	d.server.Kill()
	time.Sleep(away)
	return d.server.Restart(ctx)
}

func (d *database) stored(t *testing.T) []string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), d.server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	rows, err := c.Query(t.Context(), "SELECT event->>'id' FROM events")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func (*database) refuses(n int) bool { return n%refusedEvery == 0 }

// files take all events. Nothing but the worker can fail.
type files struct {
	dir         string
	compression v1alpha1.FileCompression
}

func (f *files) spec(*testing.T, string) *v1alpha1.SinkSpec {
	size := resource.MustParse("2Mi")
	if f.compression != "" {
		size = resource.MustParse("100Ki")
	}
	return &v1alpha1.SinkSpec{File: &v1alpha1.FileSinkSpec{
		Path: filepath.Join(f.dir, "events.ndjson"), Compression: f.compression, Rotate: &v1alpha1.RotateSpec{Size: &size},
	}}
}

func (*files) fault(context.Context, *rand.Rand) error { return nil }

func (f *files) stored(t *testing.T) (ids []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(f.dir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	finished := 0
	for _, path := range found {
		if strings.Contains(path, "-0000") {
			finished++
		}
		ids = append(ids, f.read(t, path)...)
	}
	if finished == 0 {
		t.Error("no file was finished")
	}
	return ids
}

func (f *files) read(t *testing.T, path string) (ids []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var from io.Reader = file
	if f.compression != "" {
		reader, err := zstd.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		from = reader
	}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		ids = append(ids, idOf(t, lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func (*files) refuses(int) bool { return false }
