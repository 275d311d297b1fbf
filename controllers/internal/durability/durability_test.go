package durability_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

func TestCheck(t *testing.T) {
	server := harness.StartNATS(t, natsserver.Options{SyncAlways: true})
	safe, unsafe := server.MonitorURL(), harness.StartNATS(t, natsserver.Options{}).MonitorURL()
	now := time.Now()
	clock := func() time.Time { return now }
	for name, tc := range map[string]struct {
		monitors []string
		want     durability.Answer
		text     string
	}{
		"nobody to ask":            {nil, durability.Unknown, "--nats-monitor-url"},
		"synced":                   {[]string{safe}, durability.Synced, "on disk"},
		"one of two is not":        {[]string{safe, unsafe}, durability.NotSynced, unsafe + ") confirms messages that are not on disk: set sync_interval: always"},
		"nothing listens":          {[]string{"http://127.0.0.1:1"}, durability.Unknown, "http://127.0.0.1:1"},
		"no monitoring page there": {[]string{safe + "/else"}, durability.Unknown, "404"},
	} {
		c := &durability.Checker{Monitors: tc.monitors, HTTP: &http.Client{}, Now: clock}
		got, text := c.Check(t.Context())
		if got != tc.want || !strings.Contains(text, tc.text) {
			t.Errorf("%s: got %v, %q", name, got, text)
		}
	}
	// A good answer is kept for a minute.
	c := &durability.Checker{Monitors: []string{safe}, HTTP: &http.Client{}, Now: clock}
	c.Check(t.Context())
	server.Shutdown()
	now = now.Add(50 * time.Second)
	if got, text := c.Check(t.Context()); got != durability.Synced {
		t.Errorf("after 50 s: %s", text)
	}
	now = now.Add(11 * time.Second)
	if got, _ := c.Check(t.Context()); got != durability.Unknown {
		t.Error("an answer is kept for more than a minute")
	}
}

func TestParse(t *testing.T) {
	got, err := durability.Parse("http://a:8222/, https://b")
	if err != nil || strings.Join(got, " ") != "http://a:8222 https://b" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"nats://a:4222", "a:8222", "http://"} {
		if _, err := durability.Parse(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
