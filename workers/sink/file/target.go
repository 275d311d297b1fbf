package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// Target keeps events as lines of a file for each lane.
type Target struct {
	settings config.FileSink
	stage    string // what the names of its lanes begin with
	now      func() time.Time
	log      *slog.Logger
	zstd     *zstd.Encoder // nil = no compression

	mu    sync.Mutex
	lanes map[string]bool // that are looked after when nothing comes

	stop context.CancelFunc
	done sync.WaitGroup
}

// New touches no file. stage is namespace/pipeline/stage.
func New(c *config.FileSink, stage string, now func() time.Time, log *slog.Logger) (*Target, error) {
	t := &Target{settings: *c, stage: stage, now: now, log: log, lanes: map[string]bool{}}
	if c.Compression == config.CompressionZstd {
		var err error
		if t.zstd, err = zstd.NewWriter(nil); err != nil { // it has goroutines for streams alone
			return nil, err
		}
	}
	return t, nil
}

// Open begins to look for files that are old.
func (t *Target) Open(ctx context.Context) error {
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	if t.settings.RotateAge > 0 {
		t.done.Go(func() { t.age(ctx) })
	}
	return nil
}

// Close ends that.
func (t *Target) Close() {
	t.stop()
	t.done.Wait()
}

// Row is the line of an event.
func (t *Target) Row(e *event.Event) (made any, reason string, err error) {
	line, err := cloudevent.Append(make([]byte, 0, 256+2*e.Size()), e)
	if err != nil {
		return nil, "malformed", err
	}
	return append(line, '\n'), "", nil
}

// names are the paths of a lane.
func (t *Target) names(lane string) names {
	suffix, ours := strings.CutPrefix(lane, t.stage)
	if !ours {
		suffix = lane
	}
	return namesOf(t.settings.Path, strings.ReplaceAll(strings.Trim(suffix, "/"), "/", "."))
}

// Place reads the record of a lane.
func (t *Target) Place(_ context.Context, lane string) (string, error) {
	r, _, err := t.names(lane).read(lane)
	return r.Place, err
}

// Store appends the rows and replaces the record.
func (t *Target) Store(ctx context.Context, lane string, rows []any, from, to string) error {
	n := t.names(lane)
	if err := os.MkdirAll(filepath.Dir(n.live), 0o755); err != nil {
		return err
	}
	t.mu.Lock()
	t.lanes[lane] = true
	t.mu.Unlock()
	return n.locked(ctx, func() error {
		r, err := t.current(n, lane)
		if err != nil {
			return err
		}
		if r.Place != from {
			return fmt.Errorf("lane %s stands at %q in %s, not at %q", lane, r.Place, n.record, from)
		}
		if len(rows) > 0 && t.due(r, t.now()) {
			if r, err = n.finish(r); err != nil {
				return err
			}
		}
		if r, err = t.append(n, r, rows); err != nil {
			return fmt.Errorf("append to %s: %w", n.live, err)
		}
		r.Place = to
		return n.write(r)
	})
}

// current is the record of a lane whose file has its name. A lane that is new gets a record before it gets a file.
func (t *Target) current(n names, lane string) (record, error) {
	r, ok, err := n.read(lane)
	switch {
	case err != nil:
		return r, err
	case ok:
		return n.settle(r)
	}
	if _, err := os.Lstat(n.live); !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%s is there, and %s is not, so it is no file of a sink: move it away, or choose another path", n.live, n.record)
	}
	return r, n.write(r)
}

// append cuts the file to the length of the record, appends the rows, and returns how long it is when the disk has them.
func (t *Target) append(n names, r record, rows []any) (record, error) {
	if len(rows) == 0 {
		return r, nil
	}
	f, err := os.OpenFile(n.live, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return r, err
	}
	defer f.Close() //nolint:errcheck // Sync has said what is to be said
	info, err := f.Stat()
	switch {
	case err != nil:
		return r, err
	case info.Size() == 0:
		r, err = t.begin(n, r)
	case info.Size() < r.Length:
		return r, spoiled(info, r)
	case info.Size() > r.Length:
		err = f.Truncate(r.Length)
	}
	if err != nil {
		return r, err
	}
	if r.Length == 0 {
		r.Since = t.now()
	}
	content := t.encode(rows)
	if _, err := f.WriteAt(content, r.Length); err != nil {
		return r, err
	}
	r.Length += int64(len(content))
	return r, f.Sync()
}

// begin begins an empty file. When somebody has taken the one before away, which was whole, the record says so before the first byte: else the bytes
// that a crash leaves here would be taken for some of that one.
func (t *Target) begin(n names, r record) (record, error) {
	if r.Length > 0 {
		r.Length, r.Since = 0, t.now()
		return r, n.write(r)
	}
	return r, n.syncDir()
}

// spoiled is the error of a file that somebody has cut short.
func spoiled(info fs.FileInfo, r record) error {
	return fmt.Errorf("%s has %d bytes, and had %d: put it back, or move it away", info.Name(), info.Size(), r.Length)
}

// encode is what a step appends.
func (t *Target) encode(rows []any) []byte {
	size := 0
	for _, r := range rows {
		size += len(r.([]byte))
	}
	content := make([]byte, 0, size)
	for _, r := range rows {
		content = append(content, r.([]byte)...)
	}
	if t.zstd != nil {
		content = t.zstd.EncodeAll(content, make([]byte, 0, size/4))
	}
	return content
}
