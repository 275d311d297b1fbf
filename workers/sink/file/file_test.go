package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// keeper makes a stage.Sink of a target, as package sink does.
type keeper struct {
	stage.Stage
	*Target
}

func target(t *testing.T, c config.FileSink) *Target {
	t.Helper()
	to, err := New(&c, "team/orders/archive", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	return to
}

func rows(lines ...string) (all []any) {
	for _, l := range lines {
		all = append(all, []byte(l+"\n"))
	}
	return all
}

func store(t *testing.T, to *Target, from, at string, lines ...string) {
	t.Helper()
	if err := to.Store(t.Context(), "team/orders/archive", rows(lines...), from, at); err != nil {
		t.Fatal(err)
	}
}

// content is what is in all files of a folder, by name, but for those of the target itself.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n := e.Name()
		if own := strings.HasSuffix(n, ".place") || strings.HasSuffix(n, ".place.new") || strings.HasSuffix(n, ".lock"); !own {
			text, err := os.ReadFile(filepath.Join(dir, n))
			if errors.Is(err, fs.ErrNotExist) { // it is rotated just now
				return content(t, dir)
			}
			if err != nil {
				t.Fatal(err)
			}
			all[n] = string(text)
		}
	}
	return all
}

func wants(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if got := content(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestConformance: the target passes the suite of all targets, with every setting.
func TestConformance(t *testing.T) {
	for name, c := range map[string]config.FileSink{
		"plain":      {},
		"compressed": {Compression: config.CompressionZstd},
		"rotated":    {RotateSize: 10, RotateAge: config.Duration(50 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.Path = filepath.Join(dir, "events.ndjson")
			stagetest.Sink(t, stagetest.Target{
				Sink: func() stage.Sink { return keeper{Target: target(t, c)} },
				Row:  func(i int) any { return []byte(strconv.Itoa(i) + "\n") },
				Rows: func() (numbers []int) {
					for _, text := range content(t, dir) {
						if c.Compression != "" {
							text = unpacked(t, text)
						}
						for line := range strings.Lines(text) {
							n, err := strconv.Atoi(strings.TrimSpace(line))
							if err != nil {
								t.Fatal(err)
							}
							numbers = append(numbers, n)
						}
					}
					return numbers
				},
			})
		})
	}
}

func unpacked(t *testing.T, packed string) string {
	t.Helper()
	r, err := zstd.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWhatACrashLeavesBehind: rows behind the length of the record are taken back, whatever they are.
func TestWhatACrashLeavesBehind(t *testing.T) {
	dir := t.TempDir()
	to := target(t, config.FileSink{Path: filepath.Join(dir, "events.ndjson")})
	store(t, to, "", "a", "one")
	f, err := os.OpenFile(filepath.Join(dir, "events.ndjson"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("two, which no record knows of\nthr"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	store(t, to, "a", "b", "two")
	wants(t, dir, map[string]string{"events.ndjson": "one\ntwo\n"})
}

// TestCrashInARotation: whenever the worker dies while a file gets its final name, the next one ends that, and no row is lost or doubled.
func TestCrashInARotation(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, n names, r record){
		"before the rename": func(*testing.T, names, record) {},
		"before the rename, with rows of a step that did not end": func(t *testing.T, n names, _ record) {
			if err := os.WriteFile(n.live, []byte("one\ntwo\nthree"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"after the rename": func(t *testing.T, n names, r record) {
			if err := os.Rename(n.live, r.Finishing); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			to := target(t, config.FileSink{Path: filepath.Join(dir, "events.ndjson"), RotateSize: 5})
			store(t, to, "", "a", "one", "two")
			n := to.names("team/orders/archive")
			r, _, err := n.read("team/orders/archive")
			if err != nil {
				t.Fatal(err)
			}
			r.Number, r.Finishing = 1, n.finished(1)
			if err := n.write(r); err != nil {
				t.Fatal(err)
			}
			crash(t, n, r)
			store(t, target(t, to.settings), "a", "b", "three", "four")
			store(t, target(t, to.settings), "b", "c", "five")
			wants(t, dir, map[string]string{"events-000001.ndjson": "one\ntwo\n", "events-000002.ndjson": "three\nfour\n", "events.ndjson": "five\n"})
		})
	}
}

// TestOldFiles are finished while nothing comes.
func TestOldFiles(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		to := target(t, config.FileSink{Path: filepath.Join(dir, "events.ndjson"), RotateAge: config.Duration(time.Hour)})
		defer to.Close()
		store(t, to, "", "a", "one")
		time.Sleep(59 * time.Minute)
		store(t, to, "a", "b", "two")
		time.Sleep(10 * time.Minute)
		store(t, to, "b", "c", "three")
	})
	wants(t, dir, map[string]string{"events-000001.ndjson": "one\ntwo\n", "events.ndjson": "three\n"})
}

// TestFilesOfOthers: what is in the way is not written over, and the message says what to do.
func TestFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	fails := func(lane, text string) {
		t.Helper()
		err := target(t, config.FileSink{Path: path}).Store(t.Context(), lane, rows("x"), "", "a")
		if refused := (*stage.Refused)(nil); err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails("team/orders/archive", "move it away, or choose another path")
	wants(t, dir, map[string]string{"events.ndjson": "precious"})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	to := target(t, config.FileSink{Path: path})
	store(t, to, "", "a", "one")
	n := to.names("team/orders/archive")
	if err := n.write(record{Lane: "team/other/archive", Place: "a", Length: 4}); err != nil {
		t.Fatal(err)
	}
	fails("team/orders/archive", "is the file of team/other/archive, not of team/orders/archive: choose another path")
}

// TestFilesThatAreTakenAway: a file that is gone was whole. One that is shorter was not taken, but spoiled.
func TestFilesThatAreTakenAway(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	to := target(t, config.FileSink{Path: path})
	store(t, to, "", "a", "one")
	if err := os.Rename(path, filepath.Join(dir, "taken")); err != nil {
		t.Fatal(err)
	}
	store(t, to, "a", "b", "two")
	wants(t, dir, map[string]string{"taken": "one\n", "events.ndjson": "two\n"})
	if err := os.Truncate(path, 1); err != nil {
		t.Fatal(err)
	}
	if err := to.Store(t.Context(), "team/orders/archive", rows("three"), "b", "c"); err == nil || !strings.Contains(err.Error(), "has 1 bytes, and had 4") {
		t.Errorf("got %v", err)
	}
}

// TestADiskThatIsFull: what is written of a step that fails does not count.
func TestADiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	to := target(t, config.FileSink{Path: path})
	store(t, to, "", "a", "one")
	if err := os.Mkdir(to.names("team/orders/archive").record+".new", 0o700); err != nil { // no record can be written
		t.Fatal(err)
	}
	if err := to.Store(t.Context(), "team/orders/archive", rows("two"), "a", "b"); err == nil {
		t.Fatal("stored without a record")
	}
	if err := os.Remove(to.names("team/orders/archive").record + ".new"); err != nil {
		t.Fatal(err)
	}
	store(t, to, "a", "b", "two")
	wants(t, dir, map[string]string{"events.ndjson": "one\ntwo\n"})
}

// TestNames: a lane of several has files of its own.
func TestNames(t *testing.T) {
	to := target(t, config.FileSink{Path: "/data/v1.2/events.ndjson.zst"})
	var got []string
	for _, lane := range []string{"team/orders/archive", "team/orders/archive/3-of-8", "other"} {
		n := to.names(lane)
		got = append(got, n.live, n.finished(7))
	}
	if want := []string{
		"/data/v1.2/events.ndjson.zst", "/data/v1.2/events-000007.ndjson.zst",
		"/data/v1.2/events.3-of-8.ndjson.zst", "/data/v1.2/events.3-of-8-000007.ndjson.zst",
		"/data/v1.2/events.other.ndjson.zst", "/data/v1.2/events.other-000007.ndjson.zst",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := os.Stat("/data/v1.2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("names make folders")
	}
}

// TestADiskThatIsFullAfterAMove: what is left of a step behind a file that was taken away is not taken for a part of that one.
func TestADiskThatIsFullAfterAMove(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Fatal("this test needs the device of a full disk, which Linux has: ", err)
	}
	for _, left := range []string{"bb", "bbbbbb\ncc", "bbbbbb\ncccc\n"} {
		t.Run(strconv.Quote(left), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "events.ndjson")
			to := target(t, config.FileSink{Path: path})
			store(t, to, "", "a", "aaaa")
			if err := os.Rename(path, filepath.Join(dir, "taken")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(full, path); err != nil {
				t.Fatal(err)
			}
			if err := to.Store(t.Context(), "team/orders/archive", rows("bbbbbb", "cccc"), "a", "b"); err == nil {
				t.Fatal("stored on a disk that is full")
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
				t.Fatal(err)
			}
			store(t, target(t, config.FileSink{Path: path}), "a", "b", "bbbbbb", "cccc")
			wants(t, dir, map[string]string{"taken": "aaaa\n", "events.ndjson": "bbbbbb\ncccc\n"})
		})
	}
}

// TestAFileThatIsCutBeforeItIsFinished: no file is finished that is not whole, and none is filled up with zero bytes.
func TestAFileThatIsCutBeforeItIsFinished(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	to := target(t, config.FileSink{Path: path, RotateSize: 8})
	store(t, to, "", "a", "one", "two")
	if err := os.Truncate(path, 4); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := to.Store(t.Context(), "team/orders/archive", rows("three"), "a", "b"); err == nil || !strings.Contains(err.Error(), "events.ndjson has 4 bytes, and had 8: put it back, or move it away") {
			t.Errorf("got %v", err)
		}
	}
	wants(t, dir, map[string]string{"events.ndjson": "one\n"})
	if err := os.Truncate(path, 0); err != nil { // as logrotate's copytruncate does
		t.Fatal(err)
	}
	store(t, to, "a", "b", "three", "four")
	store(t, to, "b", "c", "five")
	wants(t, dir, map[string]string{"events-000002.ndjson": "three\nfour\n", "events.ndjson": "five\n"})
}
