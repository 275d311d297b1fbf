package lane

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/engine/stored"
	"millrace.dev/millrace/workers/lease"
)

// Options are what a Worker is made of. All are required but those that say otherwise.
type Options struct {
	Config *config.StageConfig
	Limits Limits
	// Name names the worker among those of the stage.
	Name string
	Conn *nats.Conn
	JS   jetstream.JetStream
	// InboxPrefix is that of the connection, with a dot behind it.
	InboxPrefix string
	Log         *slog.Logger
	// Now is the clock, Jitter returns a number in [0,1).
	Now    func() time.Time
	Jitter func() float64
	// StreamTime is as in source.Options; it may be nil.
	StreamTime func(time.Time) time.Time
	// Tracer makes the spans; nil = nothing is traced.
	Tracer trace.Tracer
	// AckTimeout is how long a publish waits for its PubAck, WedgedAfter after what time without progress a worker takes itself for dead,
	// SnapshotEvery how often a lane keeps its state.
	AckTimeout, WedgedAfter, SnapshotEvery time.Duration
	// Nodes are the stages: the first one, then the chained ones, parents first.
	Nodes []*Node
	// Keeper keeps the leases; nil = the worker owns all lanes.
	Keeper *lease.Keeper
	// Reconnects returns a channel that is closed at the next reconnect.
	Reconnects func() <-chan struct{}
}

// Worker is what the lanes of a worker share.
type Worker struct {
	Options
	// Graph is the chain of the nodes.
	Graph *chain.Graph
	// Edition is what lanes decide by from their next step on.
	Edition atomic.Pointer[Edition]

	domain  config.Domain
	stored  stored.Client
	panics  chain.Throttle // of what is logged of panics and failures
	late    chain.Throttle // of what is logged of events that came too late
	dropped chain.Throttle // of what is logged of events that are left out
	buffers sync.Pool      // *[]byte of published frames
}

// NewWorker makes a worker without an edition.
func NewWorker(o *Options) *Worker {
	all := make([]*chain.Node, len(o.Nodes))
	for i, n := range o.Nodes {
		all[i] = n.Node
	}
	domain := o.Config.NATS.JetStreamDomain
	return &Worker{
		Options: *o, Graph: chain.NewGraph(all), domain: domain, stored: stored.Client{Conn: o.Conn, Domain: domain},
		panics: chain.Throttle{Every: time.Second}, late: chain.Throttle{Every: time.Minute}, dropped: chain.Throttle{Every: time.Minute},
	}
}

// metrics are those of the first stage.
func (w *Worker) metrics() *stats.Stage { return w.Nodes[0].Metrics }

// owns asks whether this worker has a lane.
func (w *Worker) owns(ctx context.Context, index int) (bool, error) {
	if w.Keeper == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return w.Keeper.Owns(ctx, index)
}

// fresh says that the lanes of this worker are its own as far as it can know without asking.
func (w *Worker) fresh() bool { return w.Keeper == nil || w.Keeper.Fresh() }

// callTimeout is the deadline of one call of a stage: it gives up before the worker is taken for dead.
func (w *Worker) callTimeout() time.Duration { return w.WedgedAfter / 2 }

// laneRegisterer takes the metrics of the instance of a stateful stage in one lane.
func (w *Worker) laneRegisterer(n *Node, lane int) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"lane": strconv.Itoa(lane)}, n.Register)
}

// buffer returns memory for a frame.
func (w *Worker) buffer() *[]byte {
	if b, ok := w.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}
