package operator_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"millrace.dev/millrace/workers/config"
)

// fakeWorker is the variable that makes the test's binary a worker.
const fakeWorker = "MILLRACE_TEST_WORKER"

// runFakeWorker takes the arguments of `millrace worker`, reads the StageConfig as strictly
// as that does, and is ready until it is told to end.
func runFakeWorker(args []string) int {
	if len(args) == 0 || args[0] != "worker" {
		fmt.Fprintln(os.Stderr, "want the command worker, got", args)
		return 2
	}
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	path := flags.String("config", "", "")
	listen := flags.String("listen", "", "")
	flags.String("nats-files", "", "") // it connects to nothing
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	data, err := os.ReadFile(*path)
	if err == nil {
		_, err = config.Parse(data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr: *listen, ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
