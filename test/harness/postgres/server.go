package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/process"
)

// nobody is who runs the server where the tests run as root: PostgreSQL refuses that.
const nobody = 65534

// Server is a PostgreSQL server. Its methods may be called from any goroutine.
type Server struct {
	bin, dir, libraries string
	args                []string
	port                int
	user                uint32

	mu      sync.Mutex
	process *process.Process
}

// NoSync has the server not wait for the disk. What it has committed survives a kill all the same: the kernel has it.
const NoSync = "fsync=off"

// Start starts a server with some settings (name=value) that ends with the test. A missing binary fails the test and says how to get one.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	root, err := kube.ModuleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	find := exec.CommandContext(tb.Context(), filepath.Join(root, "hack", "postgres", "find.sh"))
	find.Stderr = tb.Output()
	bin, err := find.Output()
	if err != nil {
		tb.Fatalf("hack/postgres/find.sh finds no PostgreSQL (apt-get install postgresql): %v", err)
	}
	dir, err := os.MkdirTemp("", "millrace-postgres-") //nolint:usetesting // another user has to reach it
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{bin: string(bin[:len(bin)-1]), dir: dir}
	for _, setting := range settings {
		s.args = append(s.args, "-c", setting)
	}
	tb.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	if s.port, err = process.FreePort(); err != nil {
		tb.Fatal(err)
	}
	if err := s.initialize(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if err := s.Restart(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *Server) initialize(ctx context.Context) error {
	if os.Geteuid() == 0 {
		s.user = nobody
		if err := errors.Join(os.Chmod(s.dir, 0o700), os.Chown(s.dir, nobody, nobody)); err != nil {
			return err
		}
	}
	// Unpacked packages have their libraries beside the binaries.
	if found, err := filepath.Glob(filepath.Join(s.bin, "..", "..", "..", "*-linux-gnu")); err == nil && len(found) == 1 {
		s.libraries = found[0]
	}
	p, err := s.start("initdb", "-D", s.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
	if code, _ := p.ExitCode(); code != 0 {
		return fmt.Errorf("initdb ended with code %d:\n%s", code, p.Tail(2000))
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) start(name string, args ...string) (*process.Process, error) {
	env := []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	if s.libraries != "" {
		env = append(env, "LD_LIBRARY_PATH="+s.libraries)
	}
	return process.Start(process.Command{Path: filepath.Join(s.bin, name), Args: args, Env: env, Dir: s.dir, User: s.user, LogFile: filepath.Join(s.dir, "log")})
}

// Restart starts the server again, on the same port and data, and waits until it serves. A server that still runs is killed first.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	for deadline := time.Now().Add(30 * time.Second); ; {
		p, err := s.start("postgres", append([]string{
			"-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		}, s.args...)...)
		if err != nil {
			return err
		}
		s.process = p
		for p.Running() {
			c, err := pgx.Connect(ctx, s.URL("postgres"))
			if err == nil {
				return c.Close(ctx)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("PostgreSQL does not serve: %w\n%s", err, p.Tail(2000))
			}
			time.Sleep(20 * time.Millisecond)
		}
		// Children of a killed server may hold its memory for a moment.
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not start:\n%s", p.Tail(2000))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Kill kills the server, as a crash of the machine does but for what the kernel has not written.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.process.Kill()
	s.process = nil
	// Its pid may be another program's by now, which the next server would take for a rival.
	if err := os.Remove(filepath.Join(s.data(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
}

// Freeze stops the server until Thaw: connections stay, and nothing answers.
func (s *Server) Freeze() error { return s.signal(syscall.SIGSTOP) }

// Thaw has a frozen server go on.
func (s *Server) Thaw() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Signal(sig)
}

// URL is that of a database of the server.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Database makes a database, and returns its URL.
func (s *Server) Database(tb testing.TB, name string) string {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), s.URL("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(tb.Context()) //nolint:errcheck // nothing was written
	if _, err := c.Exec(tb.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		tb.Fatal(err)
	}
	return s.URL(name)
}
