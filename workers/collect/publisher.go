package collect

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
)

// ErrSuperseded ends a collector when another one publishes on its subject.
var ErrSuperseded = errors.New("another collector publishes on this subject")

// ErrDrain ends a publisher when the drain has taken too long.
var ErrDrain = errors.New("not everything could be published before the drain timeout; the next start publishes it")

// MaxFrameBytes is the size from which on a frame takes no more events.
const MaxFrameBytes = 128 << 10

const (
	maxFrameEvents = 512
	frameLinger    = 10 * time.Millisecond
)

// Options of a Publisher.
type Options struct {
	// JetStream reaches NATS, and Stream stores Subject: one literal subject. All are required.
	JetStream jetstream.JetStream
	Stream    *Stream
	Subject   string
	// Cluster names what the collector collects from. It is in the header of each frame and in the checkpoint. Required.
	Cluster string
	// Shared says that others publish on the subject, too, such as the replicas of a receiver. Otherwise the subject is the
	// publisher's alone: a frame is stored only behind the last message that it knows, and it ends with ErrSuperseded when another
	// collector publishes there.
	Shared bool
	// Last is the sequence of the last message on the subject that the collector knows, as Replay returns it.
	Last uint64
	// Store keeps the checkpoints; nil = the source hands over none.
	Store *Store
	// Queue bounds the items that wait to be published. When it is full the source waits. Default 1024.
	Queue int
	// DrainTimeout bounds the time between the end of the context and the return of Run. Default 10 s.
	DrainTimeout time.Duration

	// Log, Now and Metrics are required.
	Log     *slog.Logger
	Now     func() time.Time
	Metrics prometheus.Registerer
}

// Publisher writes frames behind each other on one subject, and checkpoints behind frames.
type Publisher struct {
	Options
	instance string
	queue    chan Item
	ended    chan struct{}
	metrics  *metrics
	// last is the sequence of the last message on the subject that we know of.
	last uint64
	// frames is how many were packed for a subject that others share.
	frames uint64
	// failing is the last error that was logged, so that each is logged once.
	failing string
}

// NewPublisher returns a publisher that has registered its metrics. Run runs it, once.
func NewPublisher(o Options) (*Publisher, error) {
	o.Queue = cmp.Or(o.Queue, 1024)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	queue := make(chan Item, o.Queue)
	m, err := newMetrics(o.Metrics, queue)
	if err != nil {
		return nil, err
	}
	return &Publisher{Options: o, instance: instance(o.Now()), queue: queue, ended: make(chan struct{}), metrics: m, last: o.Last}, nil
}

// Queue is what the source puts items on.
func (p *Publisher) Queue() Queue { return Queue{In: p.queue, Ended: p.ended} }

// Run runs a source, and publishes what it puts on the queue, until the source returns and the queue is empty. The
// context of the source ends with ctx, and when the publisher ends. When the source returns, nothing of it may use the queue any
// more. Run returns ErrSuperseded when another collector took over the subject, ErrCheckpointLost when the checkpoint is gone,
// and ErrDrain when the drain took too long.
func (p *Publisher) Run(ctx context.Context, source func(context.Context)) error {
	// The publisher outlives ctx, so that it can publish what the source had found.
	publishing, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	// The drain begins with the end of ctx, not with that of the source: that may wait for the
	// publisher.
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(p.DrainTimeout):
			stop(ErrDrain)
		case <-publishing.Done():
		}
	})()
	// A publisher that ends, ends the source.
	collecting, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := p.publishAll(publishing)
		stop(err)
		cancel()
		close(p.ended)
		ended <- err
	}()
	source(collecting)
	close(p.queue)
	return <-ended
}

// instance tells this run of the collector from all others.
func instance(now time.Time) string {
	host, err := os.Hostname()
	if err != nil {
		host = "collector"
	}
	return host + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(now.UnixNano(), 36)
}

// publishAll publishes what is put on the queue until that is closed, or ctx ends.
func (p *Publisher) publishAll(ctx context.Context) error {
	for {
		batch, check, open, err := p.gather(ctx)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			if err := p.publish(ctx, batch); err != nil {
				return err
			}
		}
		if check != nil {
			if err := p.save(ctx, check); err != nil {
				return err
			}
		}
		if !open {
			return nil
		}
	}
}

// gather collects what is for one frame: until it is full, nothing has come for a while, or a
// checkpoint is due behind it.
func (p *Publisher) gather(ctx context.Context) (batch []Item, check *Checkpoint, open bool, err error) {
	var linger <-chan time.Time
	events, size := 0, 0
	for events < maxFrameEvents && size < MaxFrameBytes {
		select {
		case i, ok := <-p.queue:
			if !ok || i.Checkpoint != nil {
				return batch, i.Checkpoint, ok, nil
			}
			batch = append(batch, i)
			events += len(i.Events)
			for _, e := range i.Events {
				size += proto.Size(e)
			}
			if linger == nil {
				linger = time.After(frameLinger)
			}
		case <-linger:
			return batch, nil, true, nil
		case <-ctx.Done():
			return nil, nil, false, context.Cause(ctx)
		}
	}
	return batch, nil, true, nil
}
