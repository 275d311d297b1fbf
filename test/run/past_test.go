package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// changedPipeline is another manifest for the ingress of `shop`, whose sink would write into a file.
const changedPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  subjectPrefix: events
  streams: {maxBytes: 1Mi}
  stages:
  - name: check
    from: [ingress]
    validate: {rules: [{expression: "event.id != 'n7'", message: not this one}]}
  - name: archive
    from: [check]
    sink: {file: {path: ARCHIVE}}
`

// readers may read the ingress, and nothing else.
const readers = `authorization {users = [
  {user: owner, password: o},
  {user: reader, password: r, permissions: {publish: ["$JS.API.DIRECT.GET.DEFAULT_SHOP_RAW"], subscribe: ["_INBOX.>"]}}
]}`

// TestRunOnThePast: a changed manifest is tried on what the ingress of another pipeline holds, by somebody who may only read that. The time of
// the events is the one at which they were stored there, sinks write when they are told to, and what is larger than the streams of the manifest is taken, too.
func TestRunOnThePast(t *testing.T) {
	dir := t.TempDir()
	server := harness.StartNATS(t, natsserver.Options{User: "owner", Password: "o", Config: readers})
	js := harness.JetStream(t, server)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEFAULT_SHOP_RAW", Subjects: []string{"events.raw", "events.raw.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	var stored []time.Time // of each event
	for i := range 20 {
		if i == 10 {
			time.Sleep(2100 * time.Millisecond) // events of two times
		}
		body := fmt.Sprintf(`{"id":"n%d","source":"/shop","type":"order.placed","body":%q}`, i, strings.Repeat("x", 100<<10))
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "events.raw.shop", Data: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), "DEFAULT_SHOP_RAW")
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, m.Time)
	}
	archive := filepath.Join(dir, "archive.ndjson")
	manifest, out, file := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "out.ndjson"), filepath.Join(dir, "report.json")
	for name, text := range map[string]string{
		manifest: strings.Replace(changedPipeline, "ARCHIVE", archive, 1), filepath.Join(dir, "user"): "reader", filepath.Join(dir, "password"): "r",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	args := []string{
		"run", "-f", manifest, "--from-stream", server.URL(), "--nats-user", filepath.Join(dir, "user"), "--nats-password", filepath.Join(dir, "password"),
		"--since", stored[3].Add(-time.Microsecond).Format(time.RFC3339Nano), "--output", "check=" + out, "--report", file,
	}
	did := millrace(t, "", args...)
	if did.code != 0 || !strings.Contains(did.stderr, "without archive: a sink writes with --write-sinks only") || !strings.Contains(did.stdout, "17 events of ") {
		t.Fatalf("exit code %d\n%s\n%s", did.code, did.stdout, did.stderr)
	}
	r := readReport(t, file)
	if got := r.Stages["check"]; got.In != 17 || got.Out != 16 || got.DeadLettered != 1 || r.Lost+r.Duplicated+r.Backlog != 0 {
		t.Errorf("%+v", r)
	}
	written := func() (lines int) {
		files, err := filepath.Glob(filepath.Join(dir, "archive*.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			lines += strings.Count(read(f), "\n")
		}
		return lines
	}
	if n := written(); n != 0 {
		t.Errorf("the sink wrote %d events", n)
	}
	lines := strings.Split(strings.TrimSpace(read(out)), "\n")
	if len(lines) != 16 {
		t.Fatalf("%d lines in the output", len(lines))
	}
	for _, line := range lines {
		var e struct {
			ID     string    `json:"id"`
			Ingest time.Time `json:"ingesttime"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(e.ID, "n%d", &n); err != nil {
			t.Fatal(err)
		}
		if off := stored[n].Sub(e.Ingest); off < -500*time.Millisecond || off > 1500*time.Millisecond {
			t.Errorf("event %d was stored at %s, and counts as stored at %s", n, stored[n], e.Ingest)
		}
	}

	did = millrace(t, "", append(args, "--write-sinks", "--until", stored[12].Format(time.RFC3339Nano))...)
	if did.code != 0 || written() != 9 { // n3 to n12, but for n7
		t.Errorf("exit code %d\n%s\n%s", did.code, did.stdout, did.stderr)
	}
	did = millrace(t, "", append(args, "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z")...)
	if did.code != 1 || !strings.Contains(did.stderr, "stream DEFAULT_SHOP_RAW holds nothing that was stored between") {
		t.Errorf("exit code %d\n%s", did.code, did.stderr)
	}
	did = millrace(t, "", append(args, "--stream", "ANOTHER")...)
	if did.code != 1 || !strings.Contains(did.stderr, `Permissions Violation for Publish to "$JS.API.DIRECT.GET.ANOTHER"`) {
		t.Errorf("exit code %d\n%s", did.code, did.stderr)
	}
	stream, err := js.Stream(t.Context(), "DEFAULT_SHOP_RAW")
	if err != nil || stream.CachedInfo().State.Msgs != 20 || stream.CachedInfo().State.Consumers != 0 {
		t.Errorf("the stream was changed: %v, %+v", err, stream.CachedInfo().State)
	}
}

// TestPastIsAnInput: flags that contradict each other are refused.
func TestPastIsAnInput(t *testing.T) {
	for args, want := range map[string]string{
		"--from-stream nats://127.0.0.1:4222 --input -": "--from-stream is an input of its own",
		"--write-sinks":                                             "go with --from-stream, which is missing",
		"--nats-user u --nats-password p":                           "--from-stream, which is missing",
		"--from-stream nats://127.0.0.1:4222 --since x":             `--since is "x": want a duration`,
		"--from-stream nats://127.0.0.1:4222 --since 1h --until 2h": "--since 1h is not before --until 2h",
	} {
		if did := millrace(t, "", append([]string{"run", "-f", sample}, strings.Fields(args)...)...); did.code != 2 || !strings.Contains(did.stderr, want) {
			t.Errorf("%s: exit code %d\n%s", args, did.code, did.stderr)
		}
	}
}
