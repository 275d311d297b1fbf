package natsserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness/process"
)

// startTimeout bounds the wait for a server to accept clients, which includes
// the recovery of its streams.
const startTimeout = time.Minute

// Options of a server. The zero value is a server with JetStream on a free
// port of 127.0.0.1 and without authentication.
type Options struct {
	// Port for clients. Default: a free one, kept across restarts.
	Port int
	// Dir holds configuration, log and store. Default: a new temporary
	// folder, removed by Stop.
	Dir string
	// NoJetStream switches JetStream off.
	NoJetStream bool
	// Domain is the JetStream domain. Default: none.
	Domain string
	// MaxPayload of a message in bytes. Default: the server's, 1 MiB.
	MaxPayload int
	// SyncAlways makes JetStream fsync each message before it acks.
	SyncAlways bool
	// User and Password that clients must give, and that Connect gives. When
	// Config has an authorization block, it has to know them.
	User, Password string
	// Config is appended to the generated configuration: users with
	// permissions, accounts, limits, TLS.
	Config string
}

// endpoint is what both kinds of server share.
type endpoint struct {
	options    Options
	dir        string
	ownsDir    bool
	port       int
	monitor    int
	configFile string
}

func newEndpoint(options Options) (*endpoint, error) {
	e := &endpoint{options: options, dir: options.Dir, port: options.Port}
	if e.dir == "" {
		dir, err := os.MkdirTemp("", "millrace-nats-")
		if err != nil {
			return nil, err
		}
		e.dir, e.ownsDir = dir, true
	}
	ports, err := process.FreePorts(2)
	if err != nil {
		return nil, err
	}
	if e.port == 0 {
		e.port = ports[0]
	}
	e.monitor = ports[1]
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return nil, err
	}
	e.configFile = filepath.Join(e.dir, "nats.conf")
	return e, os.WriteFile(e.configFile, []byte(e.config()), 0o600)
}

func (e *endpoint) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: \"test-%d\"\n", e.port)
	fmt.Fprintf(&b, "listen: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\n", e.port, e.monitor)
	if e.options.MaxPayload > 0 {
		fmt.Fprintf(&b, "max_payload: %d\n", e.options.MaxPayload)
	}
	if !e.options.NoJetStream {
		// max_file_store: streams reserve their max_bytes, and the samples' 10 GiB each are more
		// than a small disk has; tests store little.
		fmt.Fprintf(&b, "jetstream {\n  store_dir: %q\n  max_file_store: 1TB\n", e.StoreDir())
		if e.options.SyncAlways {
			b.WriteString("  sync_interval: always\n")
		}
		if e.options.Domain != "" {
			fmt.Fprintf(&b, "  domain: %q\n", e.options.Domain)
		}
		b.WriteString("}\n")
	}
	if e.options.User != "" && !strings.Contains(e.options.Config, "authorization {") {
		fmt.Fprintf(&b, "authorization {\n  user: %q\n  password: %q\n}\n", e.options.User, e.options.Password)
	}
	return b.String() + e.options.Config + "\n"
}

// reconfigure replaces Options.Config in the file that the server reads.
func (e *endpoint) reconfigure(config string) error {
	e.options.Config = config
	return os.WriteFile(e.configFile, []byte(e.config()), 0o600)
}

// URL for clients, without credentials.
func (e *endpoint) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", e.port) }

// UserURL is URL with the user and password of the options.
func (e *endpoint) UserURL() string {
	u := url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", e.port)}
	if e.options.User != "" {
		u.User = url.UserPassword(e.options.User, e.options.Password)
	}
	return u.String()
}

// MonitorURL is the server's HTTP monitoring endpoint (/varz, /jsz ...).
func (e *endpoint) MonitorURL() string { return fmt.Sprintf("http://127.0.0.1:%d", e.monitor) }

// Port for clients.
func (e *endpoint) Port() int { return e.port }

// StoreDir is JetStream's folder.
func (e *endpoint) StoreDir() string { return filepath.Join(e.dir, "store") }

// Connect connects with the credentials of the options.
func (e *endpoint) Connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(e.UserURL(), options...)
}

// waitReady waits until the port accepts clients and, when the given
// credentials may use it, JetStream answers.
func (e *endpoint) waitReady(ctx context.Context, died func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := e.ping(ctx)
		if err == nil {
			return nil
		}
		if dead := died(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nats-server at %s not ready: %w", e.URL(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ping asks the monitoring endpoint when there may be users of their own in
// Options.Config, and JetStream itself otherwise.
func (e *endpoint) ping(ctx context.Context) error {
	if e.options.Config != "" {
		return healthz(ctx, e.MonitorURL())
	}
	nc, err := e.Connect(nats.Timeout(2 * time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	if e.options.NoJetStream {
		return nil
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	return err
}

func (e *endpoint) cleanup() {
	if e.ownsDir {
		_ = os.RemoveAll(e.dir)
	}
}
