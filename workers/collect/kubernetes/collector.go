package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"millrace.dev/millrace/workers/collect"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// Options of Run.
type Options struct {
	// Clientset and Metadata reach the cluster; JetStream reaches NATS. All are required.
	Clientset kubernetes.Interface
	Metadata  metadata.Interface
	JetStream jetstream.JetStream
	// Subject is where events are published: one literal subject, which no other collector
	// uses. A stream must store it. Required.
	Subject string
	// Cluster names the cluster in the events: k8s.cluster.name. Required.
	Cluster string
	// Bucket is the KV bucket of the checkpoints; it is made when it is not there.
	// Collectors of several clusters may share one. Default: millrace-collect.
	Bucket string
	// History is how far back the first start of a collector looks: what happened earlier is
	// taken as known. Kubernetes keeps Events for an hour.
	History time.Duration
	// CheckpointInterval is how often changes are written to the bucket; what came after is
	// read back from the stream. Default 1 s.
	CheckpointInterval time.Duration
	// Queue bounds the findings that wait to be published. When it is full the watches wait.
	// Default 1024.
	Queue int
	// DrainTimeout bounds the time between the end of the context and the return of Run.
	// Default 10 s.
	DrainTimeout time.Duration

	Log     *slog.Logger
	Now     func() time.Time
	Metrics prometheus.Registerer
}

func (o *Options) check() error {
	var missing []string
	for name, set := range map[string]bool{
		"Clientset": o.Clientset != nil, "Metadata": o.Metadata != nil, "JetStream": o.JetStream != nil, "Subject": o.Subject != "", "Cluster": o.Cluster != "",
	} {
		if !set {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("collect kubernetes: %s missing", strings.Join(missing, ", "))
	}
	if strings.ContainsAny(o.Subject, "*> \t") {
		return fmt.Errorf("collect kubernetes: subject %q must be literal", o.Subject)
	}
	o.Bucket = cmp.Or(o.Bucket, config.CollectorBucket)
	o.CheckpointInterval = cmp.Or(o.CheckpointInterval, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	return nil
}

type collector struct {
	Options
	store *collect.Store
}

// Run collects until ctx ends, then publishes what it has and writes a checkpoint. It waits
// for NATS and for the stream when they are not there yet. It returns collect.ErrSuperseded when
// another collector took over its subject, and collect.ErrCheckpointLost when its checkpoint is gone;
// after both, another Run goes on without loss and without doubles.
func Run(ctx context.Context, options Options) error {
	if err := options.check(); err != nil {
		return err
	}
	c := &collector{Options: options}
	p, err := c.resume(ctx)
	if err != nil {
		return fmt.Errorf("find out what was published: %w", err)
	}
	c.Log.Info("collecting", "cluster", c.Cluster, "subject", c.Subject, "fresh", p.fresh,
		"objects", p.ledger.size(), "replayed_frames", p.replayed, "since", p.since)
	return c.run(ctx, p)
}

func (c *collector) run(ctx context.Context, p *position) error {
	publisher, err := collect.NewPublisher(collect.Options{
		JetStream: c.JetStream, Stream: p.stream, Subject: c.Subject, Cluster: c.Cluster, Last: p.last, Store: c.store,
		Queue: c.Queue, DrainTimeout: c.DrainTimeout, Log: c.Log, Now: c.Now, Metrics: c.Metrics,
	})
	if err != nil {
		return err
	}
	queue := publisher.Queue()
	observer := newObserver(c.Cluster, c.Now, p.since, p.ledger, queue.In)
	observer.late, observer.history, observer.upgraded = p.late, c.History, p.upgraded
	observer.done, observer.unlisted = queue.Ended, p.unlisted
	feeds := c.feeds(observer)
	for _, kind := range kinds {
		observer.waiting[kind] = true
	}
	observer.forbidden = func(kind string) bool { return feeds[slices.Index(kinds, kind)].Problem() == "forbidden" }
	if err := c.Metrics.Register(contacts{feeds}); err != nil {
		return fmt.Errorf("register metrics of the collector: %w", err)
	}
	return publisher.Run(ctx, func(ctx context.Context) {
		c.watch(ctx, feeds, observer)
		observer.checkpoint()
	})
}

// watch runs the feeds, and asks for checkpoints, until ctx ends.
func (c *collector) watch(ctx context.Context, feeds []*watch.Feed, o *observer) {
	var done sync.WaitGroup
	for i, feed := range feeds {
		done.Go(func() {
			await(ctx, kinds[i], feeds)
			feed.Run(ctx)
		})
	}
	done.Go(func() {
		ticker := time.NewTicker(c.CheckpointInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				o.readLone(ctx, c.Clientset)
				o.overdue()
				o.checkpoint()
			case <-ctx.Done():
				return
			}
		}
	})
	done.Wait()
}
