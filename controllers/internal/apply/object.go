package apply

import (
	"context"
	"fmt"

	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"millrace.dev/millrace/api/v1alpha1"
)

// AddFinalizer adds the finalizer to an object that has none yet.
func AddFinalizer(ctx context.Context, c client.Writer, object client.Object) error {
	before := object.DeepCopyObject()
	if !controllerutil.AddFinalizer(object, v1alpha1.Finalizer) {
		return nil
	}
	if err := patchFinalizers(ctx, c, object, before); err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	return nil
}

// RemoveFinalizer lets go of an object. One that is gone is no error.
func RemoveFinalizer(ctx context.Context, c client.Writer, object client.Object) error {
	before := object.DeepCopyObject()
	controllerutil.RemoveFinalizer(object, v1alpha1.Finalizer)
	if err := client.IgnoreNotFound(patchFinalizers(ctx, c, object, before)); err != nil {
		return fmt.Errorf("remove finalizer: %w", err)
	}
	return nil
}

// patchFinalizers replaces the list only when nobody else has changed the object: a merge patch
// knows no parts of lists.
func patchFinalizers(ctx context.Context, c client.Writer, object client.Object, before any) error {
	old, ok := before.(client.Object)
	if !ok {
		return fmt.Errorf("copy of %T", object)
	}
	return c.Patch(ctx, object, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
}

// Delete deletes an object; one that has a UID only as long as nobody has made another of its name. One that is gone is no error.
func Delete(ctx context.Context, c client.Writer, kind string, object client.Object, options ...client.DeleteOption) error {
	if uid := object.GetUID(); uid != "" {
		options = append(options, client.Preconditions{UID: &uid})
	}
	if err := c.Delete(ctx, object, options...); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s %s: %w", kind, object.GetName(), err)
	}
	return nil
}

// ControlledBy is the owner reference to the Pipeline or Stage that controls an object.
func ControlledBy(kind string, owner client.Object) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind(kind).
		WithName(owner.GetName()).WithUID(owner.GetUID()).
		WithController(true).WithBlockOwnerDeletion(true)
}
