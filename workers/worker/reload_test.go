package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness/logs"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
	"millrace.dev/millrace/workers/worker"
)

// mounted is a ConfigMap as the kubelet mounts it: the file is a link into ..data, which is a link to a
// directory that is made anew with each version.
type mounted struct {
	t       *testing.T
	dir     string
	version int
}

func (m *mounted) file() string { return filepath.Join(m.dir, "stage.json") }

// replace mounts another version, at once.
func (m *mounted) replace(content []byte) {
	m.t.Helper()
	m.version++
	version := fmt.Sprintf("..v%d", m.version)
	must := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(m.dir, version), 0o700))
	must(os.WriteFile(filepath.Join(m.dir, version, "stage.json"), content, 0o600))
	must(os.Symlink(version, filepath.Join(m.dir, "..data_tmp")))
	must(os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	if m.version == 1 {
		must(os.Symlink(filepath.Join("..data", "stage.json"), m.file()))
	} else {
		must(os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..v%d", m.version-1))))
	}
}

// TestConfigChangesUnderway: rules that change in the mounted config reach the worker as it runs; what is
// wrong, and what takes a restart, leaves it as it is.
func TestConfigChangesUnderway(t *testing.T) {
	url := startServer(t, -1, t.TempDir()).ClientURL()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, subjects := range map[string]string{"IN": "in.>", "OUT": "out.>", "DEAD": "dead.>"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subjects}, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "IN", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckAllPolicy}); err != nil {
		t.Fatal(err)
	}
	c := stageConfig(url)
	encode := func(change func(*config.StageConfig)) []byte {
		other := *c
		change(&other)
		data, err := other.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	rule := func(expression string) []byte {
		return encode(func(c *config.StageConfig) {
			c.Validate = &config.Validate{Rules: []config.Rule{{Expression: expression}}}
		})
	}
	files := &mounted{t: t, dir: t.TempDir()}
	files.replace(rule("event.type == 'a'"))

	log := &logs.Buffer{}
	listening := make(chan string, 1)
	ctx, sigterm := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- worker.Run(ctx, worker.Options{
			ConfigFile: files.file(), ListenAddr: "127.0.0.1:0", Registry: stage.NewRegistry(validate.NewFactory()),
			Log: slog.New(slog.NewTextHandler(log, nil)), Listening: func(a string) { listening <- a }, ReloadEvery: 10 * time.Millisecond,
		})
	}()
	base := "http://" + <-listening

	count := func(result string) string {
		_, text := get(t, base+"/metrics")
		_, after, _ := strings.Cut(text, fmt.Sprintf("millrace_worker_config_reloads_total{pipeline=\"default/test\",result=%q,stage=\"validate\"} ", result))
		n, _, _ := strings.Cut(after, "\n")
		return n
	}
	var out, dead uint64
	// decides publishes an event of each type and checks that only one type is let through.
	decides := func(types ...string) {
		t.Helper()
		for _, typ := range []string{"a", "b", "c"} {
			if _, err := js.Publish(t.Context(), "in.x", fmt.Appendf(nil, `{"id":"1","source":"s","type":%q}`, typ)); err != nil {
				t.Fatal(err)
			}
		}
		out, dead = out+uint64(len(types)), dead+uint64(3-len(types))
		for stream, outcome := range map[string]struct {
			label string
			want  uint64
		}{"OUT": {"emitted", out}, "DEAD": {"dead_lettered", dead}} {
			eventually(t, fmt.Sprintf("%d events in %s", outcome.want, stream), func() bool {
				_, text := get(t, base+"/metrics")
				return strings.Contains(text, fmt.Sprintf("millrace_stage_events_total{outcome=%q,pipeline=\"default/test\",stage=\"validate\"} %d\n", outcome.label, outcome.want))
			})
		}
	}
	changed := func(to []byte, result, n string) {
		t.Helper()
		files.replace(to)
		eventually(t, n+" "+result, func() bool { return count(result) == n })
	}
	decides("a")
	changed(rule("event.type != 'a'"), "applied", "1")
	decides("b", "c")
	changed(rule("event.nope"), "refused", "1")
	decides("b", "c")
	changed([]byte(`{"apiVersion": `), "refused", "2")
	decides("b", "c")
	changed(encode(func(c *config.StageConfig) { c.Batch.MaxEvents = 7 }), "restart", "1")
	decides("b", "c")
	if err := os.Remove(files.file()); err != nil { // nobody does, and it ends nothing
		t.Fatal(err)
	}
	eventually(t, "the log says that the file is gone", func() bool { return strings.Contains(log.String(), "cannot be read any more") })
	decides("b", "c")
	if err := os.Symlink(filepath.Join("..data", "stage.json"), files.file()); err != nil {
		t.Fatal(err)
	}
	changed(encode(func(c *config.StageConfig) { c.Validate = &config.Validate{RequiredAttributes: []string{"subject"}} }), "applied", "2")
	decides()
	if got := count("applied") + count("refused") + count("restart"); got != "221" {
		t.Errorf("applied, refused, restart: %s, want 221: each change is counted once", got)
	}
	sigterm()
	if err := <-done; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	for _, want := range []string{
		"the rules have changed: the worker goes on with the new ones", "is refused; the worker goes on with what it has",
		"validate.rules[0].expression", "until it is restarted",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}
