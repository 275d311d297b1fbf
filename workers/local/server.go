package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// maxPayload lets the text of one event of up to jsontext.MaxText through whole.
const maxPayload = 16 << 20

// startServer runs a NATS server with JetStream below storeDir. An empty listen address
// keeps it unreachable from outside the process; "127.0.0.1:4222" lets `nats pub` in. With
// powerSafe every message is synced to disk before it is confirmed.
func startServer(storeDir, listen string, powerSafe bool, log *slog.Logger) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "millrace-run", DontListen: listen == "", NoSigs: true,
		JetStream: true, StoreDir: storeDir, MaxPayload: maxPayload, SyncAlways: powerSafe,
		// The limits of the streams bound the disk; the server's own default would refuse
		// streams of 10Gi on a small disk.
		JetStreamMaxStore: 1 << 50, JetStreamMaxMemory: 1 << 40,
		// One slow consumer of a huge backlog must not be cut off.
		MaxPending: 256 << 20,
	}
	if listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, fmt.Errorf("--listen %q: %w (want HOST:PORT, such as 127.0.0.1:4222)", listen, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("--listen %q: port %q: want a number up to 65535; 0 takes a free one", listen, port)
		}
		if opts.Port = int(n); n == 0 {
			opts.Port = server.RANDOM_PORT // to the server, 0 is 4222
		}
		opts.Host = host
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure embedded NATS server: %w", err)
	}
	s.SetLogger(serverLog{log}, false, false)
	go s.Start()
	if !s.ReadyForConnections(15 * time.Second) {
		s.Shutdown()
		return nil, errors.New("embedded NATS server did not become ready within 15s: is the address of --listen taken?")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("embedded NATS server has no JetStream: is %s writable?", storeDir)
	}
	return s, nil
}

// dial opens an in-process connection.
func dial(s *server.Server, name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Name(name), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS server: %w", err)
	}
	return nc, nil
}

// stopServer ends s and waits until its files are closed, at most until ctx ends.
func stopServer(ctx context.Context, s *server.Server) {
	done := make(chan struct{})
	go func() { s.Shutdown(); s.WaitForShutdown(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// serverLog passes what the server complains about on to log; its notices are noise here.
type serverLog struct{ log *slog.Logger }

func (serverLog) Noticef(string, ...any) {}
func (l serverLog) Warnf(f string, a ...any) {
	l.log.Debug("nats server warning", "text", fmt.Sprintf(f, a...))
}

func (l serverLog) Fatalf(f string, a ...any) {
	l.log.Error("nats server failed", "text", fmt.Sprintf(f, a...))
}

func (l serverLog) Errorf(f string, a ...any) {
	l.log.Error("nats server error", "text", fmt.Sprintf(f, a...))
}
func (serverLog) Debugf(string, ...any) {}
func (serverLog) Tracef(string, ...any) {}
