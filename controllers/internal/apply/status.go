package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// written: the status that was written last made this version of an object.
type written struct {
	version string
	at      time.Time
}

// CatchUp is when to look again at an object that is Behind.
const CatchUp = 50 * time.Millisecond

// forgetWritten is when a cache that is still behind what was written will not catch up: the API server
// was set back.
const forgetWritten = 10 * time.Second

// Status patches the status of an object that was changed since before was copied from it, once,
// and only when it was. It reports whether it wrote. An object that is gone is no error.
func (a *Applier) Status(ctx context.Context, object, before client.Object) (bool, error) {
	return a.status(ctx, object, before, client.MergeFrom(before))
}

// SharedStatus is Status for an object whose status another controller writes, too. The error is a conflict of the API server's
// (apierrors.IsConflict) when somebody wrote the object since it was read.
func (a *Applier) SharedStatus(ctx context.Context, object, before client.Object) (bool, error) {
	return a.status(ctx, object, before, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

func (a *Applier) status(ctx context.Context, object, before client.Object, patch client.Patch) (bool, error) {
	if equality.Semantic.DeepEqual(before, object) {
		return false, nil
	}
	err := a.client.Status().Patch(ctx, object, patch)
	if other := client.IgnoreNotFound(err); other != nil {
		return false, fmt.Errorf("patch status: %w", other)
	}
	if err != nil {
		return false, nil //nolint:nilerr // it is gone
	}
	a.written.Add(object.GetUID(), written{object.GetResourceVersion(), a.now()})
	return true, nil
}

// Behind reports whether the cache, where object was read, has not seen yet the status that was written
// last. A pass that goes by the status of before may find nothing to write, and nothing would tell it
// later that it was wrong: it has to read again.
func (a *Applier) Behind(object client.Object) bool {
	w, ok := a.written.Get(object.GetUID())
	if !ok || a.now().Sub(w.at) > forgetWritten {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), w.version)
	return err == nil && order < 0
}
