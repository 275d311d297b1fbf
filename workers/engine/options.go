package engine

import (
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/stage"
)

// Options are what an engine is made of. Config, Factory and Conn are required.
type Options struct {
	Config *config.StageConfig
	// Factory builds the stage and says whether it is stateful.
	Factory stage.Factory
	// Registry finds the factories of the stages that are chained to it; it may be nil when there are none.
	Registry stage.Registry
	// Worker names this worker among those of the stage; it must be unique among all that ever
	// run at once. Empty = a random name.
	Worker string
	// Conn is the connection; it is used, never closed. It should reconnect for ever.
	Conn *nats.Conn
	Log  *slog.Logger
	// Now is the clock; nil = time.Now.
	Now func() time.Time
	// StreamTime turns the time at which the server stored a message into the time of the stream, by which stages decide (stage.Batch); nil = they are
	// the same. It must not go back. A run whose clock jumps has one (millrace test), and asks for the flushes that are due with FlushUntil. All that waits
	// for NATS or for others goes by the wall clock.
	StreamTime func(stored time.Time) time.Time
	// Jitter returns a number in [0,1); nil = math/rand.
	Jitter func() float64
	// Tracer makes the spans (package spans); nil = nothing is traced.
	Tracer trace.Tracer
	// Metrics may be shared by the engines of one process; nil = metrics nobody reads.
	Metrics *stats.Metrics
	// LeaseEvery and LeaseExpire are how often a worker renews its leases, and after what
	// silence others take its lanes; 0 = 1.5 s and 6 s.
	LeaseEvery, LeaseExpire time.Duration
	// SnapshotEvery is how often a lane keeps the state of its stages, where they can; 0 = 10 s.
	SnapshotEvery time.Duration
	// WedgedAfter is how long a worker may have messages in hand without any progress
	// before it reports itself as dead; 0 = 2 minutes.
	WedgedAfter time.Duration
	// AckTimeout is how long a publish waits for its PubAck before it is sent again; 0 = 5 s.
	AckTimeout time.Duration
}

// Fallbacks for what the options leave open.
const (
	defaultAckTimeout  = 5 * time.Second
	defaultWedgedAfter = 2 * time.Minute
	defaultSnapshot    = 10 * time.Second
)

func (o *Options) complete() error {
	var errs []error
	if o.Config == nil {
		errs = append(errs, errors.New("config is missing"))
	}
	if o.Factory == nil {
		errs = append(errs, errors.New("factory is missing"))
	}
	if o.Conn == nil {
		errs = append(errs, errors.New("connection is missing"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("engine options: %w", errors.Join(errs...))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Metrics == nil {
		o.Metrics = stats.NewMetrics(prometheus.NewRegistry())
	}
	if o.Worker == "" {
		o.Worker = cryptorand.Text()
	}
	fallback(&o.WedgedAfter, defaultWedgedAfter)
	fallback(&o.AckTimeout, defaultAckTimeout)
	fallback(&o.SnapshotEvery, defaultSnapshot)
	return checkConfig(o.Config)
}

func fallback(v *time.Duration, to time.Duration) {
	if *v <= 0 {
		*v = to
	}
}

func checkConfig(c *config.StageConfig) error {
	if len(c.Inputs) == 0 {
		return errors.New("stage config: inputs is empty: a stage reads at least one stream")
	}
	if c.Partitions < 1 {
		return fmt.Errorf("stage config: partitions is %d: at least 1", c.Partitions)
	}
	if c.Lanes != 1 && c.Lanes != c.Partitions {
		return fmt.Errorf("stage config: lanes is %d: 1 or the number of partitions, %d", c.Lanes, c.Partitions)
	}
	if _, ok := c.Outputs[config.PortDeadLetter]; !ok {
		return fmt.Errorf("stage config: outputs has no port %q: every stage needs one", config.PortDeadLetter)
	}
	if n := len(c.Ports()); n > config.MaxPorts {
		return fmt.Errorf("stage config: outputs has %d ports, %d at most", n, config.MaxPorts)
	}
	for port, out := range c.Outputs {
		if out.Subject == "" {
			return fmt.Errorf("stage config: outputs.%s.subject is empty", port)
		}
		switch out.Format {
		case config.FormatFrame, config.FormatCloudEvent, config.FormatRaw:
		default:
			return fmt.Errorf("stage config: outputs.%s.format is %q: frame, cloudevent or raw", port, out.Format)
		}
		switch out.OnFull {
		case "", config.Block:
		case config.Drop:
			if port == config.PortDeadLetter {
				return errors.New("stage config: outputs.dead-letter.onFull is Drop: a dead letter is never left out")
			}
		default:
			return fmt.Errorf("stage config: outputs.%s.onFull is %q: Block or Drop", port, out.OnFull)
		}
	}
	return nil
}
