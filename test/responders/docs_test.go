package responders

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/process"
)

const pipeline = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: asked}
spec:
  stages:
  - name: fraud
    from: [ingress]
    gather: {nats: {subject: models.fraud}, quorum: 2, timeout: 1s, onIncomplete: Hold, prefix: fraud.}
`

// TestRespondersOfTheDocs: the two programs of the page start after the pipeline, and answer all of it together.
func TestRespondersOfTheDocs(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, err := kube.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/stages/gather.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := func(language string) string {
		found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(page)
		if found == nil {
			t.Fatalf("the page has no responder in %s", language)
		}
		return string(found[1])
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(ports[0])
	responder := filepath.Join(dir, "responder")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", responder, write("responder.go", program("go")))
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var events strings.Builder
	for i := range 500 {
		fmt.Fprintf(&events, `{"id":"%d","source":"test","type":"t","subject":"a/%d"}`+"\n", i, i)
	}
	events.WriteString(`{"id":"no subject","source":"test","type":"t"}` + "\n")
	run := start(t, process.Command{Path: harness.BuildBinary(t, harness.BuildOptions{}), LogFile: filepath.Join(dir, "run.log"), Args: []string{
		"run", "-f", write("pipeline.yaml", pipeline), "--input", write("events.ndjson", events.String()), "--until-drained", "--listen", address,
		"--output", "fraud=" + filepath.Join(dir, "out.ndjson"), "--report", filepath.Join(dir, "report.json"),
	}})
	harness.Eventually(t, 30*time.Second, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	start(t, process.Command{Path: responder, Args: []string{"nats://" + address}, LogFile: filepath.Join(dir, "go.log")})
	start(t, process.Command{Path: "python3", Args: []string{write("responder.py", program("python")), "nats://" + address}, LogFile: filepath.Join(dir, "python.log")})
	select {
	case <-run.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the pipeline is not drained")
	}
	if code, _ := run.ExitCode(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	wantAnswered(t, filepath.Join(dir, "out.ndjson"), 500)
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"refused": 1`) {
		t.Errorf("the event without a subject is not refused: %s", text)
	}
}

// start starts a program that ends with the test.
func start(t *testing.T, c process.Command) *process.Process {
	t.Helper()
	p, err := process.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", c.LogFile, process.Tail(c.LogFile, 4<<10))
		}
		p.Stop(0)
	})
	return p
}

// wantAnswered reads the events of a file: all have both answers.
func wantAnswered(t *testing.T, file string, want int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		var e struct {
			Subject string
			Data    struct{ Attributes map[string]any }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		a := e.Data.Attributes
		if a["fraud.length"] != float64(len(e.Subject)) || a["fraud.words"] != float64(2) || a["gather.fraud.status"] != "complete" {
			t.Fatalf("an event has the attributes %v: %s", a, line)
		}
		n++
	}
	if n != want {
		t.Errorf("%d events, want %d", n, want)
	}
}
