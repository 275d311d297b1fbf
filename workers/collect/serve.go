package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Serve serves /metrics, /healthz and /readyz until ctx ends; the channel is closed then. The collector is ready while it is
// connected to NATS.
func (f *Flags) Serve(ctx context.Context, connection *nats.Conn, registry *prometheus.Registry, log *slog.Logger) (<-chan struct{}, error) {
	done := make(chan struct{})
	if f.Listen == "" {
		close(done)
		return done, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !connection.IsConnected() {
			http.Error(w, errNotConnected.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve metrics", "error", err)
		}
	}()
	context.AfterFunc(ctx, func() {
		_ = server.Close()
		close(done)
	})
	return done, nil
}
