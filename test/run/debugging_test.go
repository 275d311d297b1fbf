package run

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
)

// TestDebugging types what docs/debugging.md says, against a run with two orders, one of which is refused.
func TestDebugging(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs/debugging.md"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(manifest, []byte(strings.Replace(strictPipeline, "order.placed", "order.refused", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, nc, output := listeningTo(t, manifest)
	harness.Eventually(t, 20*time.Second, func() error {
		_, err := nc.RequestMsg(&nats.Msg{Subject: "events.raw.shop", Data: []byte(`[{"id":"o0","source":"/shop","type":"order.refused","body":"\u202e\u001b[2J"},
			{"id":"o1","source":"/shop","type":"order.placed"}]`)}, time.Second)
		return err
	})
	wantMessages(t, nc, "DEAD_LETTERS", 1)
	wantMessages(t, nc, "DEFAULT_SHOP_CHECK", 1)
	want := map[string]string{
		"tap shop/check ": "o1", "tap shop/check/dead-letter ": `[rule_failed: no orders`, "tap shop ": `"id":"o1"`, "trace shop o1 ": "emitted",
		"dlq ls shop ": "rule_failed", "dlq ls shop/check ": `"eventId":"o0"`, "dlq show shop 1 ": "no orders",
		"dlq replay shop/check ": "1 dead letters of DEAD_LETTERS", "dlq jobs shop ": "done", "dlq purge shop ": "dead letters removed",
	}
	commands := regexp.MustCompile(`(?m)^millrace ((tap|trace|dlq) .*)$`).FindAllStringSubmatch(string(page), -1)
	for _, c := range commands {
		line := strings.NewReplacer("-f pipeline.yaml", "-f "+manifest, "nats://nats:4222", nc.ConnectedUrl()).Replace(c[1])
		got := millrace(t, "", arguments(line)...)
		if got.code != 0 || strings.ContainsAny(got.stdout, "\x1b\u202e") {
			t.Errorf("%s\nexit code %d\n%s%s", line, got.code, got.stdout, got.stderr)
		}
		for prefix, text := range want {
			if strings.HasPrefix(line, prefix) {
				if !strings.Contains(got.stdout, text) {
					t.Errorf("%s\nprints no %q:\n%s%s", line, text, got.stdout, got.stderr)
				}
				delete(want, prefix)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("docs/debugging.md has no command that begins with %v", want)
	}
	for _, wrong := range [][]string{
		{"tap"},
		{"tap", "a/b/c/d", "-f", manifest},
		{"tap", "shop", "-f", manifest, "--since", "yesterday"},
		{"trace", "shop"},
		{"dlq", "show", "shop"},
		{"tap", "shop", "-f", manifest, "-o", "xml"},
		{"tap", "shop/check", "-f", manifest, "--nats-url", nc.ConnectedUrl(), "--filter", "event.nothing"},
	} {
		if got := millrace(t, "", wrong...); got.code != 2 || got.stdout != "" {
			t.Errorf("%v: exit code %d, want 2\n%s%s", wrong, got.code, got.stdout, got.stderr)
		}
	}
	interrupt(t, cmd, output)
}

// arguments splits a command line at spaces that are not in quotes.
func arguments(line string) (all []string) {
	for _, part := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1) {
		all = append(all, strings.Trim(part, `"`))
	}
	return all
}
