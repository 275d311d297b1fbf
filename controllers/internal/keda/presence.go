package keda

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lookAgain is how often the cluster is asked whether it has KEDA.
const lookAgain = 10 * time.Second

// Presence knows whether the cluster has KEDA. KEDA may come and go while the operator runs; its objects are
// watched from when it is first seen.
type Presence struct {
	Discovery discovery.DiscoveryInterface
	// Cache has the operator's ScaledObjects, and nothing else.
	Cache cache.Cache
	// Once has the presence looked for at the start alone: the operator makes no ScaledObjects, and only
	// has to find those of an earlier run.
	Once bool
	Log  logr.Logger

	mu      sync.Mutex
	present bool
	watched bool
	found   []func(object client.Object) error
}

// NeedLeaderElection is false: who leads next has to know it too.
func (*Presence) NeedLeaderElection() bool { return false }

// OnFound has f called, once, when the kind is there and the cache knows it.
func (p *Presence) OnFound(f func(object client.Object) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = append(p.found, f)
}

// Start looks until the context ends.
func (p *Presence) Start(ctx context.Context) error {
	for {
		err := p.Look(ctx)
		if err != nil {
			p.Log.Error(err, "cannot tell whether the cluster has KEDA")
		} else if p.Once {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
	}
}

// Look asks once.
func (p *Presence) Look(ctx context.Context) error {
	kind := GroupVersionKind()
	resources, err := p.Discovery.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ask for the resources of %s: %w", kind.GroupVersion(), err)
	}
	present := false
	if err == nil {
		for _, r := range resources.APIResources {
			present = present || r.Kind == kind.Kind
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if present && !p.watched {
		if err := p.watch(ctx); err != nil {
			return err
		}
		p.watched = true
	}
	if present != p.present {
		p.Log.Info("KEDA", "present", present)
	}
	p.present = present
	return nil
}

func (p *Presence) watch(ctx context.Context) error {
	if _, err := p.Cache.GetInformer(ctx, New(), cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("cache ScaledObjects: %w", err)
	}
	for _, f := range p.found {
		if err := f(New()); err != nil {
			return fmt.Errorf("watch ScaledObjects: %w", err)
		}
	}
	return nil
}

// Present says whether the cluster has KEDA now.
func (p *Presence) Present() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.present
}

// Readable says whether the cache has ScaledObjects: KEDA was there once.
func (p *Presence) Readable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watched
}
