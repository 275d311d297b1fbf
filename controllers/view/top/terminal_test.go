package top_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"millrace.dev/millrace/controllers/view/top"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
)

// terminal is a real one, of 24 lines and 110 columns, on which a program runs.
type terminal struct {
	*os.File
	mu   sync.Mutex
	seen bytes.Buffer
}

// frame is what the screen shows: what was written since the cursor was set to its corner last.
func (t *terminal) frame() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.seen.String()
	end := strings.LastIndex(all, "\x1b[J") // the end of a frame that is whole
	if end < 0 {
		return ""
	}
	return all[max(strings.LastIndex(all[:end], "\x1b[H"), 0):end]
}

func (t *terminal) all() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.String()
}

func (t *terminal) await(ctx context.Context, tb testing.TB, what string, texts ...string) {
	tb.Helper()
	for {
		shown, missing := t.frame(), ""
		for _, one := range texts {
			if !strings.Contains(shown, one) {
				missing = one
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("%s: %q is not shown:\n%s", what, missing, shown)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestTop watches a pipeline of real workers: on a terminal with keys, as lines, and as JSON.
func TestTop(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	sample, err := filepath.Abs("../../../config/samples/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := rigtest.Start(ctx, t, rig.Options{Manifest: sample, Dir: t.TempDir(), Binary: binary})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = r.JetStream().Publish(ctx, "default.minimal.raw.test", fmt.Appendf(nil, `{"id":"%d","source":"top","type":"demo.hello"}`, i))
			time.Sleep(10 * time.Millisecond)
		}
	}()
	args := []string{"top", "-f", sample, "--nats-url", r.URL()}

	// As JSON, one object for each reading.
	out, err := exec.CommandContext(ctx, binary, append(args, "minimal", "--once", "-o", "json")...).Output()
	if err != nil {
		t.Fatal(err, failure(err))
	}
	var one top.Reading
	if err := json.Unmarshal(out, &one); err != nil || bytes.Count(out, []byte("\n")) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if one.Name.Name != "minimal" || len(one.Stages) != 1 || one.Stages[0].Stage != "check" || len(one.Edges) != 3 || one.Edges[0].From != "ingress" ||
		one.Edges[0].To != "check" || one.Edges[0].Events == nil || *one.Edges[0].Events <= 0 {
		t.Errorf("the reading is %s", out)
	}

	// As lines, without colours.
	if out, err = exec.CommandContext(ctx, binary, append(args, "--once")...).Output(); err != nil {
		t.Fatal(err, failure(err))
	}
	for _, want := range []string{"default/minimal", "STAGE", "check  validate"} {
		if !strings.Contains(string(out), want) || bytes.ContainsRune(out, '\x1b') {
			t.Errorf("%q is missing, or there are colours: %q", want, out)
		}
	}

	// On a terminal.
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 110})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	screen := &terminal{File: file}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := file.Read(b)
			screen.mu.Lock()
			screen.seen.Write(b[:n])
			screen.mu.Unlock()
			if err != nil { // the program has ended
				return
			}
		}
	}()
	press := func(keys string) {
		if _, err := io.WriteString(file, keys); err != nil {
			t.Fatal(err)
		}
	}
	screen.await(ctx, t, "the table", "default/minimal", "STAGE", "check", "1 ok", "s sort (graph)")
	press("s")
	screen.await(ctx, t, "another column", "s sort (name)")
	press("\x1b[B\r")
	screen.await(ctx, t, "the ports of a stage", "READ BY", "DEFAULT_MINIMAL_RAW", "check/out", "workers 1", "Esc back")
	press("t")
	screen.await(ctx, t, "the events of a port", "check/out, as it is stored", "demo.hello", "t other port")
	press("t")
	screen.await(ctx, t, "the events of another port", "check/dead-letter, as it is stored: 0 events")
	press("\t")
	screen.await(ctx, t, "the events that it reads", "ingress, as it is stored", "demo.hello")
	press("b")
	screen.await(ctx, t, "the ports again", "READ BY")
	if err := pty.Setsize(file, &pty.Winsize{Rows: 10, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	screen.await(ctx, t, "a smaller terminal", "…", "Esc back")
	press("b")
	screen.await(ctx, t, "the table again", "STAGE")
	press("q")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("q: %v\n%s", err, screen.all())
	}
	<-ended
	if all := screen.all(); !strings.Contains(all, "\x1b[?1049h") || !strings.HasSuffix(all, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("the terminal is not as before: it ends with %q", all[max(0, len(all)-40):])
	}
}

func failure(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
