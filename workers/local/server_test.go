package local

import (
	"log/slog"
	"testing"
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
