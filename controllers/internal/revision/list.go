package revision

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// IndexOwner indexes ControllerRevisions and ConfigMaps by the UID of the Stage that controls them.
const IndexOwner = "metadata.controller"

// IndexedOwner is that UID; none where no Stage controls the object.
func IndexedOwner(o client.Object) []string {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != "Stage" {
		return nil
	}
	return []string{string(owner.UID)}
}

// Index makes List possible.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range []client.Object{&appsv1.ControllerRevision{}, &corev1.ConfigMap{}} {
		if err := indexer.IndexField(ctx, kind, IndexOwner, IndexedOwner); err != nil {
			return err
		}
	}
	return nil
}

// apiError is one of the API server: the revisions could not be asked for.
type apiError struct{ err error }

func (e *apiError) Error() string { return e.err.Error() }
func (e *apiError) Unwrap() error { return e.err }

// IsAPIError tells such an error from one about what revisions say.
func IsAPIError(err error) bool {
	var api *apiError
	return errors.As(err, &api)
}

// List reads the revisions of a Stage: see HistoryOf.
func List(ctx context.Context, reader client.Reader, stage *v1alpha1.Stage) (History, error) {
	var list appsv1.ControllerRevisionList
	err := reader.List(ctx, &list, client.InNamespace(stage.Namespace), client.MatchingFields{IndexOwner: string(stage.UID)})
	if err != nil {
		return nil, &apiError{fmt.Errorf("list the revisions of Stage %s: %w", stage.Name, err)}
	}
	return HistoryOf(stage, list.Items)
}
