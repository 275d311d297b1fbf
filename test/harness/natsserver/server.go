package natsserver

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/process"
)

// Server is a nats-server process. Its methods may be called from any
// goroutine.
type Server struct {
	*endpoint
	mu      sync.Mutex
	process *process.Process
}

// Start starts a nats-server process and waits until it serves. The error
// wraps kube.ErrMissingBinary when `make controlplane` has not run.
func Start(ctx context.Context, options Options) (*Server, error) {
	e, err := newEndpoint(options)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	s := &Server{endpoint: e}
	if err := s.Restart(ctx); err != nil {
		e.cleanup()
		return nil, err
	}
	return s, nil
}

// Restart starts the server again, on the same port and store, and waits
// until it serves. A server that still runs is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Stop(stopGrace)
	}
	path, err := kube.Find("nats-server")
	if err != nil {
		return err
	}
	p, err := process.Start(process.Command{
		Path: path, Args: []string{"-c", s.configFile},
		Dir: s.dir, LogFile: s.LogFile(),
	})
	if err != nil {
		return err
	}
	s.process = p
	err = s.waitReady(ctx, func() error {
		if p.Running() {
			return nil
		}
		code, _ := p.ExitCode()
		return fmt.Errorf("nats-server ended with code %d:\n%s", code, p.Tail(2000))
	})
	if err != nil {
		p.Kill()
	}
	return err
}

// stopGrace is how long a server may take to close its streams.
const stopGrace = 20 * time.Second

// Reload has the running server take another Options.Config, without a restart. It does not wait.
func (s *Server) Reload(config string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reconfigure(config); err != nil {
		return fmt.Errorf("reload nats-server: %w", err)
	}
	return s.process.Signal(syscall.SIGHUP)
}

// Kill9 kills the server as a crash of the machine's process would. The store
// stays; Restart recovers it.
func (s *Server) Kill9() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.Kill()
}

// Shutdown ends the server in order and keeps its folder, for Restart.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.Stop(stopGrace)
}

// Stop kills the server and removes its folder, unless it was given.
func (s *Server) Stop() {
	s.Kill9()
	s.cleanup()
}

// Pid of the server's process.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Pid()
}

// LogFile of the server, continued at each restart.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "nats-server.log") }

func healthz(ctx context.Context, monitor string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, monitor+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", response.Status)
	}
	return nil
}
