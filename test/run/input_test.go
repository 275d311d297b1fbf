package run

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/workers/event"
)

func inputFile(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(root(t), "test/run/testdata/cases/input", name)
}

// runInput runs one validate stage over a file and returns what leaves it, by id, and the dead letters.
func runInput(t *testing.T, path string) (passed map[string]*eventv1.Event, dead []map[string]any, got result, r report) {
	t.Helper()
	dir := t.TempDir()
	got = millrace(t, "", "run", "-f", inputFile(t, "pipeline.yaml"), "--input", path, "--until-drained", "--report", dir+"/report.json",
		"--output", "check="+dir+"/out.ndjson", "--output", "check/dead-letter="+dir+"/dead.ndjson")
	r = readReport(t, dir+"/report.json")
	if r.Lost != 0 || r.Duplicated != 0 || r.Backlog != 0 {
		t.Errorf("report: %+v", r)
	}
	return byID(cloudEvents(t, dir+"/out.ndjson")), lines(t, dir+"/dead.ndjson"), got, r
}

func byID(events []*eventv1.Event) map[string]*eventv1.Event {
	all := map[string]*eventv1.Event{}
	for _, e := range events {
		all[e.GetId()] = e
	}
	return all
}

func ids(events map[string]*eventv1.Event) string {
	var all []string
	for id := range events {
		all = append(all, id)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func attribute(e *eventv1.Event, name string) string {
	for _, kv := range e.GetAttributes() {
		if kv.GetKey() == name {
			return strings.TrimSpace(fmt.Sprint(kv.GetStringValue()))
		}
	}
	return "none"
}

// TestInputOfEveryShape: a file is read whatever its shape, and counted in events.
func TestInputOfEveryShape(t *testing.T) {
	for file, want := range map[string]string{
		"extension-names.ndjson": "x1 x2 x3", "mark.ndjson": "a b", "mark-message.json": "c", "infinity.ndjson": "1 2 3 4",
		"times.ndjson": "t0 t1 t2 t3 t4 t5 t6", "array-one-line.json": "j0 j1", "array.json": "j0 j1", "pretty.json": "j0 j1",
	} {
		t.Run(file, func(t *testing.T) {
			passed, dead, got, r := runInput(t, inputFile(t, file))
			if got.code != 0 || ids(passed) != want || len(dead) != 0 || r.EventsIn != int64(len(passed)) {
				t.Errorf("exit code %d, %q passed, want %q; %d events in; dead letters %v", got.code, ids(passed), want, r.EventsIn, dead)
			}
			switch file {
			case "extension-names.ndjson":
				names := []string{attribute(passed["x1"], "network"), attribute(passed["x2"], "log"), attribute(passed["x3"], "count"), string(passed["x1"].GetData())}
				if diff := cmp.Diff([]string{"wifi", "yes", "few", `{"n": 1}`}, names); diff != "" {
					t.Errorf("extensions and data (-want +got):\n%s", diff)
				}
			case "times.ndjson":
				times(t, passed)
			}
		})
	}
}

func times(t *testing.T, passed map[string]*eventv1.Event) {
	t.Helper()
	ten := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	for id, want := range map[string]time.Time{"t3": ten, "t4": ten, "t5": ten.Add(123 * time.Millisecond), "t6": ten.Add(time.Hour)} {
		if got := time.Unix(0, int64(passed[id].GetTimeUnixNano())); !got.Equal(want) {
			t.Errorf("%s has the time %s, want %s", id, got, want)
		}
	}
	for id, want := range map[string]string{"t0": "0001-01-01T00:00:00Z", "t1": "9999-12-31T23:59:59Z", "t2": ""} {
		if got := attribute(passed[id], "timestamp"); passed[id].GetTimeUnixNano() != 0 || got != want {
			t.Errorf("%s has the time %d and attribute timestamp %q, want none and %q", id, passed[id].GetTimeUnixNano(), got, want)
		}
	}
}

// TestBrokenEventOfAFileIsAlone: what is no event is one dead letter, which says where it stood.
func TestBrokenEventOfAFileIsAlone(t *testing.T) {
	passed, dead, got, r := runInput(t, inputFile(t, "batch-with-nan.json"))
	if got.code != 0 || ids(passed) != "5 7" || len(dead) != 1 || r.EventsIn != 3 {
		t.Fatalf("exit code %d, %q passed, %d events in, dead letters %v", got.code, ids(passed), r.EventsIn, dead)
	}
	data := dead[0]["data"].(map[string]any)
	if want := fmt.Sprintf("%v/%v/1", data["stream"], data["sequence"]); dead[0]["id"] != want || data["index"] != 1.0 || data["stream"] == "" {
		t.Errorf("the dead letter has the id %v and the index %v, want %s and 1", dead[0]["id"], data["index"], want)
	}
	if original := data["original"].(string); !strings.HasPrefix(original, `{"id":"6"`) || !strings.HasSuffix(original, "NaN}}") {
		t.Errorf("the dead letter holds %s", original)
	}
}

// TestInputThatCannotBeRead: the run processes what came before, says what is wrong, and fails.
func TestInputThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ text, passed, want string }{
		"UTF-16":            {"\xff\xfe{\x00}\x00", "", "--input: it is UTF-16 text: convert it to UTF-8"},
		"gzip":              {"\x1f\x8b\x08\x00\x00", "", "--input: it is compressed with gzip"},
		"array cut off":     {`[{"id":"1","source":"s","type":"t"},`, "1", "--input: the array has no end: the input is cut off at byte 36"},
		"array of no bound": {`[{"id":"1","source":"s","type":"t"},{"id":"2},{"id":"3"}]`, "1", "--input: the array is broken in the element at byte 36"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			passed, _, got, _ := runInput(t, path)
			if got.code != 1 || ids(passed) != c.passed || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit code %d, %q passed, want %q and %q in:\n%s", got.code, ids(passed), c.passed, c.want, got.stderr)
			}
		})
	}
}

// TestMessagesOfManyEventsAreCountedAsEvents: what others publish need not say how many events it holds. Progress,
// summary and report count the events of NDJSON and arrays, not the messages.
func TestMessagesOfManyEventsAreCountedAsEvents(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	cmd, nc, output := listening(t, "--report", report)
	var ids int
	texts := func(n int) []string {
		var all []string
		for range n {
			ids++
			all = append(all, fmt.Sprintf(`{"id":"%d","source":"s","type":"t"}`, ids))
		}
		return all
	}
	for _, body := range []string{
		strings.Join(texts(100), "\n"), "[" + strings.Join(texts(50), ",") + "]", strings.Join(texts(7), "\n") + "\n{broken\n", texts(1)[0],
	} {
		harness.Eventually(t, 10*time.Second, func() error {
			_, err := nc.Request("input.raw.test", []byte(body), time.Second)
			return err
		})
	}
	const events = 100 + 50 + 8 + 1
	harness.Eventually(t, 20*time.Second, func() error {
		if want := fmt.Sprintf(" in=%d ", events); !strings.Contains(output.String(), want) {
			return fmt.Errorf("the progress does not say %q:\n%s", want, output)
		}
		return nil
	})
	interrupt(t, cmd, output)
	if want := fmt.Sprintf("input: %d events in", events); !strings.Contains(output.String(), want) {
		t.Errorf("the summary does not say %q:\n%s", want, output)
	}
	r := readReport(t, report)
	if check := r.Stages["check"]; r.EventsIn != events || check.In != events || check.Out != events-1 || check.DeadLettered != 1 || r.Lost != 0 || r.Duplicated != 0 {
		t.Errorf("got %+v, want %d events in, of which one is dead", r, events)
	}
}

// text is what a command writes, read while it writes.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// listening starts a run that others may publish to.
func listening(t *testing.T, args ...string) (*exec.Cmd, *nats.Conn, *text) {
	t.Helper()
	return listeningTo(t, inputFile(t, "pipeline.yaml"), args...)
}

// listeningTo is listening, with another manifest.
func listeningTo(t *testing.T, manifest string, args ...string) (*exec.Cmd, *nats.Conn, *text) {
	t.Helper()
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	cmd, output := command(t, append([]string{"run", "-f", manifest, "--listen", listen}, args...)...), &text{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var nc *nats.Conn
	harness.Eventually(t, 30*time.Second, func() (err error) {
		nc, err = nats.Connect("nats://" + listen)
		return err
	})
	t.Cleanup(nc.Close)
	return cmd, nc, output
}

// interrupt ends a run as Ctrl-C does.
func interrupt(t *testing.T, cmd *exec.Cmd, output *text) {
	t.Helper()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// TestTextsAsMessages: the same texts are the same events when each comes as one message.
func TestTextsAsMessages(t *testing.T) {
	dir := t.TempDir()
	cmd, nc, output := listening(t, "--output", "check="+dir+"/out.ndjson", "--output", "check/dead-letter="+dir+"/dead.ndjson")
	publish := func(file, contentType string) {
		text, err := os.ReadFile(inputFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		m := &nats.Msg{Subject: "input.raw.test", Data: text, Header: nats.Header{}}
		if contentType != "" {
			m.Header.Set(event.HeaderContentType, contentType)
		}
		harness.Eventually(t, 10*time.Second, func() error {
			_, err := nc.RequestMsg(m, time.Second)
			return err
		})
	}
	for _, file := range []string{"extension-names.ndjson", "mark.ndjson", "mark-message.json", "infinity.ndjson", "times.ndjson", "pretty.json", "batch-with-nan.json"} {
		publish(file, "")
	}
	publish("array.json", event.ContentTypeBatch)
	publish("mark-message.json", event.ContentTypeCloudEvent)
	interrupt(t, cmd, output)
	passed, dead := byID(cloudEvents(t, dir+"/out.ndjson")), lines(t, dir+"/dead.ndjson")
	if want := "1 2 3 4 5 7 a b c j0 j1 t0 t1 t2 t3 t4 t5 t6 x1 x2 x3"; ids(passed) != want || len(dead) != 1 {
		t.Errorf("%q passed, want %q; dead letters %v", ids(passed), want, dead)
	}
}
