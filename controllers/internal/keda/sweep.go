package keda

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// Sweep deletes, at the start of an operator with another backend, the ScaledObjects of stages that one with KEDA
// has left: KEDA would go on by them. It runs in the leader.
type Sweep struct {
	// Reader reads past any cache.
	Reader client.Reader
	Writer client.Writer
	// Namespaces to look in; empty is all.
	Namespaces []string
	// Labels of the operator's own objects.
	Labels k8slabels.Selector
	Log    logr.Logger
}

// Start sweeps until it has succeeded or the context ends.
func (s *Sweep) Start(ctx context.Context) error {
	for {
		err := s.sweep(ctx)
		if err == nil {
			return nil
		}
		s.Log.Error(err, "cannot delete ScaledObjects that another backend has left")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
	}
}

func (s *Sweep) sweep(ctx context.Context) error {
	namespaces := s.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var errs []error
	for _, namespace := range namespaces {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(GroupVersionKind())
		err := s.Reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: s.Labels})
		switch {
		case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
			return nil // no KEDA
		case apierrors.IsForbidden(err):
			s.Log.Info("ScaledObjects that another backend may have left stay: the operator has no right to list them", "namespace", namespace)
		case err != nil:
			errs = append(errs, err)
		}
		for i := range list.Items {
			errs = append(errs, s.delete(ctx, &list.Items[i]))
		}
	}
	return errors.Join(errs...)
}

func (s *Sweep) delete(ctx context.Context, object *unstructured.Unstructured) error {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != "Stage" || owner.APIVersion != v1alpha1.GroupVersion.String() || object.GetDeletionTimestamp() != nil {
		return nil
	}
	if err := s.Writer.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete ScaledObject %s/%s: %w", object.GetNamespace(), object.GetName(), err)
	}
	s.Log.Info("deleted a ScaledObject that another backend has left", "namespace", object.GetNamespace(), "name", object.GetName())
	return nil
}
