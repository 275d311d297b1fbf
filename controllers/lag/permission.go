package lag

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
)

const (
	// permissionsKept and permissionFor bound what is remembered of who may: a right that is taken away
	// ends within a minute.
	permissionsKept = 4096
	permissionFor   = time.Minute
)

// permissions asks the API server who may read what.
type permissions struct {
	kubernetes kubernetes.Interface
	granted    *expirable.LRU[string, bool]
}

func newPermissions(k kubernetes.Interface) *permissions {
	return &permissions{k, expirable.NewLRU[string, bool](permissionsKept, nil, permissionFor)}
}

// check is nil when a user may read a metric of a namespace, and a StatusError when not.
func (p *permissions) check(ctx context.Context, who user.Info, namespace, metric string) error {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(), Extra: map[string]authorizationv1.ExtraValue{},
	}
	for k, v := range who.GetExtra() {
		spec.Extra[k] = v
	}
	spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
		// A metric has no name of its own: the API server calls its reading a list, too.
		Verb: "list", Group: external.GroupName, Version: "v1beta1", Namespace: namespace, Resource: metric,
	}
	key := spec.String()
	if p.granted.Contains(key) {
		return nil
	}
	review, err := p.kubernetes.AuthorizationV1().SubjectAccessReviews().Create(ctx,
		&authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask whether %s may read %s: %w; bind the operator to the ClusterRole system:auth-delegator", who.GetName(), metric, err)
	}
	if !review.Status.Allowed {
		return apierrors.NewForbidden(schema.GroupResource{Group: external.GroupName, Resource: metric}, "",
			fmt.Errorf("user %q may not read it: %s", who.GetName(), review.Status.Reason))
	}
	p.granted.Add(key, true)
	return nil
}
