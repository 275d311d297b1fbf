package local

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

func TestServerIsPowerSafeWhenThePipelineIs(t *testing.T) {
	for _, want := range []bool{true, false} {
		s, err := startServer(t.TempDir(), "", want, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.JetStreamConfig().SyncAlways; got != want {
			t.Errorf("power-safe %v: the server syncs always: %v", want, got)
		}
		stopServer(t.Context(), s)
	}
}

func TestListenOnPortZeroTakesAFreeOne(t *testing.T) {
	t.Parallel()
	usual, err := net.Listen("tcp", "127.0.0.1:4222")
	if err == nil {
		defer usual.Close()
	} // else somebody else has it
	got := run(t.Context(), t, pipeline(stages), "", Options{Listen: "127.0.0.1:0", For: 300 * time.Millisecond})
	if got.err != nil {
		t.Fatal(got.err)
	}
	var port int
	if _, err := fmt.Sscanf(got.progress, "listening on nats://127.0.0.1:%d\n", &port); err != nil || port == 0 || port == 4222 {
		t.Errorf("the progress does not say where the run listened, or it was no free port: %v\n%s", err, got.progress)
	}
}

func TestListenAddressIsChecked(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1":       `--listen "127.0.0.1": `,
		"127.0.0.1:http":  `--listen "127.0.0.1:http": port "http": want a number up to 65535; 0 takes a free one`,
		"127.0.0.1:-1":    `--listen "127.0.0.1:-1": port "-1": want a number up to 65535; 0 takes a free one`,
		"127.0.0.1:99999": `--listen "127.0.0.1:99999": port "99999": want a number up to 65535; 0 takes a free one`,
	} {
		_, err := startServer(t.TempDir(), listen, false, slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("--listen %s: got %v, want %s", listen, err, want)
		}
	}
}
