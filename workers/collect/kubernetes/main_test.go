package kubernetes

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// The test binary is also the collector under test: with the argument collect it runs the
// command, so that a test can kill -9 it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "collect" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		cmd := Command()
		cmd.SetArgs(os.Args[2:])
		err := cmd.ExecuteContext(ctx)
		stop()
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
