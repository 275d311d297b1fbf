package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/tracing"
)

// Options are what a worker is given.
type Options struct {
	// ConfigFile is the path of the stage config.
	ConfigFile string
	// NATSFiles is the folder of the files that the config names for NATS, by relative paths.
	NATSFiles string
	// SecretFiles is the folder of the files with secrets that the settings of the stage name, by relative paths.
	SecretFiles string
	// ModelFiles is the folder of the files with models that the settings of the stage name, by relative paths.
	ModelFiles string
	// ListenAddr is where health and metrics are served; a port of 0 takes a free one.
	ListenAddr string
	// Profiles serves Go profiles below /debug/pprof/ of ListenAddr too.
	Profiles bool
	Registry stage.Registry
	Log      *slog.Logger
	// Listening, if set, is told the address that is served.
	Listening func(addr string)
	// ReloadEvery is how often ConfigFile is looked at for other rules; 0 = 2 s.
	ReloadEvery time.Duration
}

// reconnectWait is the longest pause between two attempts to reach NATS.
const reconnectWait = 2 * time.Second

// Run runs the stage of o.ConfigFile until ctx ends, then drains it. An error says what in
// the config is wrong, or what was not finished within the drain timeout.
func Run(ctx context.Context, o Options) error {
	data, err := os.ReadFile(o.ConfigFile)
	if err != nil {
		return fmt.Errorf("read stage config: %w", err)
	}
	c, err := parseConfig(o, data)
	if err != nil {
		return err
	}
	factory, err := o.Registry.Factory(c.Kind)
	if err != nil {
		return fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	conn, err := dial(c, o.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(connection(conn, c)...)
	name := workerName()
	traces, err := tracing.Start(ctx, tracing.Options{
		Pipeline: c.Pipeline.String(), Stage: c.Stage, Worker: name, Getenv: os.Getenv, Log: o.Log,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := traces.Close(ctx); err != nil {
			o.Log.Warn("traces are lost", "error", err)
		}
	}()
	e, err := engine.New(engine.Options{
		Config: c, Factory: factory, Registry: o.Registry, Conn: conn, Log: o.Log, Metrics: stats.NewMetrics(registry),
		Worker: name, Tracer: traces.Tracer(),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	stop, err := serve(ctx, o, e, registry)
	if err != nil {
		return err
	}
	defer stop()
	r := newReloader(o, e, c, data, registry)
	watching, stopWatching := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { r.watch(watching) })
	defer background.Wait()
	defer stopWatching()
	return e.Run(ctx)
}

// workerName names this process among the workers of its stage: the pod, or the host, and
// something that no other process has.
func workerName() string {
	name := os.Getenv("POD_NAME")
	if name == "" {
		name, _ = os.Hostname() // the random part is enough
	}
	return name + "-" + rand.Text()
}

// parseConfig reads what is in o.ConfigFile.
func parseConfig(o Options, data []byte) (*config.StageConfig, error) {
	c, err := config.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	if c.NATS.URL == "" {
		return nil, fmt.Errorf("%s: nats.url is empty", o.ConfigFile)
	}
	c.NATS = c.NATS.In(o.NATSFiles)
	c.SecretsIn(o.SecretFiles)
	c.ModelsIn(o.ModelFiles)
	return c, nil
}

// dial opens a connection that is kept for ever. A server that is not there yet is
// waited for in the background. Its files are read again at every connect, so that renewed
// credentials take effect; one that is refused is tried again for ever, since they may come later.
func dial(c *config.StageConfig, log *slog.Logger) (*nats.Conn, error) {
	said := &once{}
	options := []nats.Option{
		nats.Name("millrace " + c.Pipeline.String() + "/" + c.Stage),
		nats.CustomInboxPrefix(c.InboxPrefix()),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait / 4), nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if said.news(err) {
				log.Warn("cannot connect to NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { said.forget() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if said.news(err) {
				log.Error("NATS reported an error", "error", err)
			}
		}),
	}
	login := connect.Login{TLS: c.NATS.TLS, HandshakeFirst: c.NATS.TLSHandshakeFirst, Load: func() (connect.Material, error) { return connect.Files(c.NATS) }}
	conn, err := connect.NATS(c.NATS.URL, login, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return conn, nil
}

// once has each problem of a connection said once, until it is connected again: attempts are made
// every second. nats.go calls it from one goroutine.
type once struct{ last string }

func (o *once) news(err error) bool {
	text := err.Error()
	news := text != o.last
	o.last = text
	return news
}

func (o *once) forget() { o.last = "" }
