package failure

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// permanent is an error of our own that no retry mends.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that no retry mends.
func Permanent(err error) error { return permanent{err} }

// Refused says that no retry helps, a person has to act: an error is Permanent, or the API server refuses what the operator asks for, for a reason that does not pass: the object is not valid, a
// right is missing, or a policy is against it. Of several errors all have to be refusals: what may pass is tried again first.
func Refused(err error) bool {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			if !Refused(one) {
				return false
			}
		}
		return len(several.Unwrap()) > 0
	}
	switch {
	case errors.As(err, new(permanent)):
		return true
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return false // what is to be made goes with the namespace
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsMethodNotSupported(err),
		apierrors.IsRequestEntityTooLargeError(err):
		return true
	}
	return false
}

// The bounds of the wait before a failed pass is repeated.
const (
	First = time.Second
	Last  = time.Minute
)

// Limiter is how soon a pass that failed is repeated: after a second, then each time after twice as long, up to a minute.
func Limiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](First, Last)
}
