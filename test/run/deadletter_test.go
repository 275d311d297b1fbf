package run

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
)

const strictPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  subjectPrefix: events
  streams: {maxBytes: 64Mi}
  deadLetters: {stream: DEAD_LETTERS}
  stages:
  - name: check
    from: [ingress]
    validate: {rules: [{expression: "event.type != 'order.placed'", message: no orders}]}
`

// documented are the commands of docs/delivery.md that replay dead letters.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root(t), "docs/delivery.md"))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^millrace (dlq replay .*)$`).FindAllString(string(page), -1)
}

// TestReplayOfDeadLetters types what docs/delivery.md says: binary CloudEvents that a rule refused are published again
// once the rule is mended, each with its attributes, and what is wrong in itself is left.
func TestReplayOfDeadLetters(t *testing.T) {
	dir := t.TempDir()
	manifest, out := filepath.Join(dir, "pipeline.yaml"), filepath.Join(dir, "out.ndjson")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strictPipeline)
	store := []string{"--store-dir", filepath.Join(dir, "store"), "--output", "check=" + out}
	cmd, nc, output := listeningTo(t, manifest, store...)
	publish := func(body string, header nats.Header) {
		t.Helper()
		harness.Eventually(t, 10*time.Second, func() error {
			_, err := nc.RequestMsg(&nats.Msg{Subject: "events.raw.shop", Header: header, Data: []byte(body)}, time.Second)
			return err
		})
	}
	for i := range 5 {
		publish(fmt.Sprintf(`{"total": %d}`, i), nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {fmt.Sprintf("o%d", i)}, "ce-source": {"/shop"}, "ce-type": {"order.placed"},
			"ce-region": {"north"}, "Content-Type": {"application/json"},
		})
	}
	publish("<garbage>", nil)
	wantMessages(t, nc, "DEAD_LETTERS", 6)
	interrupt(t, cmd, output)

	write(strings.Replace(strictPipeline, "event.type != 'order.placed'", "event.id != ''", 1))
	cmd, nc, output = listeningTo(t, manifest, store...)
	wantMessages(t, nc, "DEAD_LETTERS", 6)
	type typed struct{ code, published int }
	var did []typed
	commands := documented(t)
	for _, line := range commands {
		line = strings.NewReplacer("-f pipeline.yaml", "-f "+manifest, "nats://nats:4222", nc.ConnectedUrl()).Replace(line)
		got := millrace(t, "", strings.Fields(line)[1:]...)
		n := 0
		_, _ = fmt.Sscanf(got.stdout, "%d dead letters of DEAD_LETTERS ", &n)
		did = append(did, typed{got.code, n})
		t.Logf("%s\n%s%s", line, got.stdout, got.stderr)
		switch len(did) {
		case 1:
			wantMessages(t, nc, "DEFAULT_SHOP_RAW", 6) // it was a dry run
		case 2:
			wantMessages(t, nc, "DEFAULT_SHOP_RAW", 11)
		}
	}
	// The last one is for all reasons: five are stored already, and the garbage dies again.
	if want := []typed{{0, 5}, {0, 5}, {0, 6}}; !slices.Equal(did, want) {
		t.Fatalf("the commands\n%s\nended as %v, want %v", strings.Join(commands, "\n"), did, want)
	}
	wantMessages(t, nc, "DEFAULT_SHOP_RAW", 12)
	wantMessages(t, nc, "DEAD_LETTERS", 7)
	interrupt(t, cmd, output)
	passed := byID(cloudEvents(t, out))
	if got := ids(passed); got != "o0 o1 o2 o3 o4" {
		t.Fatalf("%q passed", got)
	}
	e := passed["o3"]
	region := slices.ContainsFunc(e.GetExtensions(), func(x *eventv1.KeyValue) bool { return x.GetKey() == "region" && x.GetStringValue() == "north" })
	if e.GetType() != "order.placed" || e.GetSource() != "/shop" || !region || string(e.GetData()) != `{"total": 3}` {
		t.Errorf("o3 is %v", e)
	}
}

// wantMessages waits until a stream holds so many messages.
func wantMessages(t *testing.T, nc *nats.Conn, stream string, want uint64) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			return err
		}
		if got := s.CachedInfo().State.Msgs; got != want {
			return fmt.Errorf("stream %s holds %d messages, want %d", stream, got, want)
		}
		return nil
	})
}

// TestReplayThatCannot says what is wrong: usage with exit code 2, the rest with 1.
func TestReplayThatCannot(t *testing.T) {
	manifest := filepath.Join(t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(manifest, []byte(strictPipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	_, nc, _ := listeningTo(t, manifest)
	wantMessages(t, nc, "DEAD_LETTERS", 0)
	url := nc.ConnectedUrl()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing named":  {nil, 2, "give -f with the manifest of the Pipeline, or --stream and --to"},
		"a wildcard":     {[]string{"--stream", "DEAD_LETTERS", "--to", "events.raw.>"}, 2, "--to"},
		"no such stream": {[]string{"--stream", "ELSEWHERE", "--to", "events.raw.x", "--nats-url", url}, 1, "ELSEWHERE"},
		"no server":      {[]string{"-f", manifest, "--nats-url", "nats://127.0.0.1:1"}, 1, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			got := millrace(t, "", append([]string{"dlq", "replay"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit code %d, want %d and %q in %s", got.code, c.code, c.want, got.stderr)
			}
		})
	}
	t.Run("a subject that nobody stores", func(t *testing.T) {
		if _, err := nc.RequestMsg(&nats.Msg{Subject: "events.dead-letter.check.0", Data: []byte("x")}, time.Second); err != nil {
			t.Fatal(err)
		}
		got := millrace(t, "", "dlq", "replay", "--stream", "DEAD_LETTERS", "--to", "nobody.here", "--nats-url", url)
		if want := "no stream stores the subject nobody.here"; got.code != 1 || !strings.Contains(got.stderr, want) || !strings.Contains(got.stderr, "--after 0") {
			t.Errorf("exit code %d, want 1 and %q in %s", got.code, want, got.stderr)
		}
	})
}
