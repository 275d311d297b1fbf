package keda

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lookAgain is how often the cluster is asked whether it has KEDA.
const lookAgain = 10 * time.Second

// Presence knows whether the cluster has KEDA, which may come and go while the operator runs. ScaledObjects are
// watched from when it is first seen.
type Presence struct {
	Discovery discovery.DiscoveryInterface
	// Cache has the operator's ScaledObjects, and nothing else.
	Cache cache.Cache
	// OnFound is called once, when the cluster has the kind and before it is Present.
	OnFound func(kind client.Object) error
	Log     logr.Logger

	served  atomic.Bool
	objects atomic.Pointer[cache.Informer]
}

// NeedLeaderElection is false: who leads next has to know it too.
func (*Presence) NeedLeaderElection() bool { return false }

// Start looks until the context ends.
func (p *Presence) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
		if err := p.Look(ctx); err != nil {
			p.Log.Error(err, "cannot tell whether the cluster has KEDA")
		}
	}
}

// Look asks once: at the start, and then by Start.
func (p *Presence) Look(ctx context.Context) error {
	kind := GroupVersionKind()
	resources, err := p.Discovery.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ask for the resources of %s: %w", kind.GroupVersion(), err)
	}
	served := false
	if err == nil {
		for _, r := range resources.APIResources {
			// A definition that is being deleted lets nothing be made.
			served = served || r.Kind == kind.Kind && slices.Contains(r.Verbs, "create")
		}
	}
	if served && p.objects.Load() == nil {
		informer, err := p.Cache.GetInformer(ctx, New(), cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("cache ScaledObjects: %w", err)
		}
		if err := p.OnFound(New()); err != nil {
			return fmt.Errorf("watch ScaledObjects: %w", err)
		}
		p.objects.Store(&informer)
	}
	if p.served.Swap(served) != served {
		p.Log.Info("KEDA", "present", served)
	}
	return nil
}

// Present says whether the cluster has KEDA now, and the cache its objects.
func (p *Presence) Present() bool {
	objects := p.objects.Load()
	return p.served.Load() && objects != nil && (*objects).HasSynced()
}
