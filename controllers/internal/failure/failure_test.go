package failure_test

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/controllers/internal/failure"
)

func TestRefused(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "a", nil)
	forbidden := apierrors.NewForbidden(deployments, "a", errors.New("no right"))
	terminating := apierrors.NewForbidden(deployments, "a", errors.New("being terminated"))
	terminating.ErrStatus.Details.Causes = append(terminating.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	busy := apierrors.NewTooManyRequests("busy", 1)
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":                     {nil, false},
		"invalid":                     {fmt.Errorf("apply Deployment a: %w", invalid), true},
		"a right is missing":          {forbidden, true},
		"the namespace goes":          {terminating, false},
		"not found":                   {apierrors.NewNotFound(deployments, "a"), false},
		"a conflict":                  {apierrors.NewConflict(deployments, "a", errors.New("somebody was first")), false},
		"busy":                        {busy, false},
		"no answer":                   {errors.New("connection refused"), false},
		"our own":                     {fmt.Errorf("stage a: %w", failure.Permanent(errors.New("another format"))), true},
		"several refusals":            {errors.Join(invalid, fmt.Errorf("make: %w", forbidden)), true},
		"a refusal, and one that may": {errors.Join(invalid, busy), false},
		"joined twice":                {fmt.Errorf("all: %w", errors.Join(errors.Join(invalid), forbidden)), true},
	} {
		if got := failure.Refused(test.err); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// TestLimiter: the waits begin at a second, and end at a minute.
func TestLimiter(t *testing.T) {
	limiter := failure.Limiter()
	request := reconcile.Request{}
	first := limiter.When(request)
	for range 20 {
		limiter.When(request)
	}
	if last := limiter.When(request); first != failure.First || last != failure.Last {
		t.Errorf("from %s to %s", first, last)
	}
}
