package chaos

import (
	"bytes"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// TestLostPulls: a pull request that the server does not know of, for whatever reason, holds
// nothing up for longer than 2 s. The client library waits for two missed heartbeats, 30 s by
// default (TestClientStalls): the stall that was seen with small pulls at a high rate.
func TestLostPulls(t *testing.T) {
	w := begin(t, harness.BuildBinary(t, harness.BuildOptions{}))
	var losing atomic.Bool
	p, err := newProxy(t.Context(), strings.TrimPrefix(w.URL(), "nats://"), func(subject []byte) bool {
		return losing.Load() && bytes.HasPrefix(subject, []byte("$JS.API.CONSUMER.MSG.NEXT."))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(t, w) // the clients
		p.close()
	})
	for _, stage := range stages() {
		config, err := os.ReadFile(w.ConfigFile(stage))
		if err != nil {
			t.Fatal(err)
		}
		config = bytes.ReplaceAll(config, []byte(w.URL()), []byte(p.url()))
		if err := os.WriteFile(w.ConfigFile(stage), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines, err := newLoad()
	if err != nil {
		t.Fatal(err)
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for range 3 {
			time.Sleep(1500 * time.Millisecond)
			losing.Store(true)
			for n := p.swallowed.Load(); p.swallowed.Load() == n; {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			losing.Store(false)
		}
	}()
	s := &soak{rig: w.Rig, rate: 5000, long: 10 * time.Second, load: lines}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-lost
	if s.pauses.longest > longestPause {
		t.Errorf("a partition stood still for %s, at most %s are allowed", s.pauses.longest, longestPause)
	}
	t.Logf("%d pull requests were lost; no partition stood still for longer than %s", p.swallowed.Load(), s.pauses.longest.Round(time.Millisecond))
}
