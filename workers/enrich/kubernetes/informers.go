package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// defaultSyncTimeout is how long Start waits for the first lists.
const defaultSyncTimeout = 30 * time.Second

// Options of NewInformers. The zero value is good.
type Options struct {
	// SyncTimeout is how long Start waits for the first lists. When it is over the stage
	// runs: look-ups answer timeout until the pods are there. 0 = 30 s.
	SyncTimeout time.Duration
}

// Informers is a source that follows a cluster.
//
// It watches pods and services, and the metadata alone of nodes, namespaces, Deployments,
// ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs. Only pods are needed: a resource that it may not
// watch costs what it would have told, is logged once and shows in the metrics.
//
// While the API server is away the store answers what it last knew, with status stale.
type Informers struct {
	client   kubernetes.Interface
	metadata metadata.Interface
	options  Options
	log      *slog.Logger
	now      func() time.Time

	store  *Store
	pods   *watch.Feed
	feeds  []*watch.Feed
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// NewInformers makes a source for the cluster that cfg reaches. It does not connect yet.
func NewInformers(cfg *rest.Config, options Options) (*Informers, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("kubernetes metadata client: %w", err)
	}
	if options.SyncTimeout == 0 {
		options.SyncTimeout = defaultSyncTimeout
	}
	return &Informers{client: client, metadata: meta, options: options}, nil
}

// Start watches, and waits until all that may be listed has been, or until the timeout.
func (i *Informers) Start(ctx context.Context, settings enrich.SourceSettings) error {
	i.log, i.now = settings.Log, settings.Now
	i.store = NewStore(settings.Now, settings.KeepDeleted)
	i.pods = i.podFeed()
	i.feeds = append(i.metadataFeeds(), i.serviceFeed(), i.pods)
	if err := settings.Metrics.Register(collector{i}); err != nil {
		return fmt.Errorf("register metrics of the kubernetes source: %w", err)
	}
	// The watches live until Shutdown, not only until Start's context ends.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	i.cancel = cancel
	for _, feed := range i.feeds {
		i.done.Go(func() { feed.Run(running) })
	}
	i.wait(ctx)
	return nil
}

// wait returns when every feed has synchronised or has been refused, or after the timeout.
func (i *Informers) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, i.options.SyncTimeout)
	defer cancel()
	began := i.now()
	for _, feed := range i.feeds {
		if !i.settled(ctx, feed) {
			i.log.Warn("the Kubernetes API has not been listed in time; look-ups answer timeout until it is",
				"resource", feed.Name(), "waited", i.options.SyncTimeout, "problem", feed.Problem())
			return
		}
	}
	i.log.Info("kubernetes context is ready", "pods", i.store.Pods(), "took", i.now().Sub(began).Round(time.Millisecond))
}

// settled waits until a feed has synchronised or, unless it is the pods', has been refused.
func (i *Informers) settled(ctx context.Context, feed *watch.Feed) bool {
	const pause = 50 * time.Millisecond
	for {
		if feed != i.pods && feed.Problem() == "forbidden" {
			return true
		}
		select {
		case <-feed.Synced():
			return true
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// Find resolves q.
func (i *Informers) Find(q enrich.Query) (*enrich.Facts, enrich.Status) {
	facts := i.store.Find(q)
	switch {
	case !i.pods.HasSynced() && facts == nil:
		return nil, enrich.StatusTimeout
	case !i.pods.HasSynced(), i.pods.Problem() != "":
		return facts, enrich.StatusStale
	case facts == nil:
		return nil, enrich.StatusMiss
	}
	return facts, enrich.StatusOK
}

// Shutdown ends the watches.
func (i *Informers) Shutdown(context.Context) error {
	if i.cancel != nil {
		i.cancel()
		i.done.Wait()
	}
	return nil
}
