package access

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
)

// source is one key of an object.
type source struct {
	kind v1alpha1.CAKind
	types.NamespacedName
	key string
}

// content is what it had.
type content struct {
	value []byte
	// servers and pipelines are those that a Secret says it is for.
	servers, pipelines string
	readAt             time.Time
}

// reader reads the files of one pipeline, and takes what was read within keepFor.
type reader struct {
	access    *Access
	namespace string
	keepFor   time.Duration
}

// read returns a file for a server.
func (r reader) read(ctx context.Context, f File, url string) ([]byte, error) {
	from := source{kind: f.Kind, NamespacedName: types.NamespacedName{Namespace: r.namespace, Name: f.Object}, key: f.Key}
	if known, ok := r.access.recall(from, r.keepFor); ok && r.access.may(f, known.servers, url) {
		return known.value, nil
	}
	found, err := r.access.get(ctx, from)
	switch {
	case err != nil:
		return nil, r.explain(err, f)
	case !r.access.may(f, found.servers, url):
		return nil, unpaired(f.field, from.NamespacedName, found.servers, url)
	case len(found.value) == 0:
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"%s: %s %s has no key %s: add %s under it", f.field, f.Kind, f.Object, f.Key, f.holds)}
	}
	r.access.remember(from, found)
	return found.value, nil
}

// may says whether a file may be used for a server.
func (a *Access) may(f File, servers, url string) bool {
	return f.Kind == v1alpha1.CAConfigMap || a.options.AllowUnpaired || paired(servers, url)
}

// explain says what to do about an object that cannot be read.
func (r reader) explain(err error, f File) error {
	switch {
	case apierrors.IsNotFound(err):
		return &CredentialsError{Message: fmt.Sprintf(
			"%s: %s %s does not exist in namespace %s: create it", f.field, f.Kind, f.Object, r.namespace)}
	case apierrors.IsForbidden(err):
		return &CredentialsError{Message: fmt.Sprintf(
			"%s: the operator may not read %s %s in namespace %s: grant it the right, or watch the namespace (%v)", f.field, f.Kind, f.Object, r.namespace, err)}
	default:
		return fmt.Errorf("read %s %s: %w", f.Kind, f.Object, err)
	}
}

func (a *Access) get(ctx context.Context, from source) (content, error) {
	if from.kind == v1alpha1.CAConfigMap {
		var object corev1.ConfigMap
		if err := a.options.Objects.Get(ctx, from.NamespacedName, &object); err != nil {
			return content{}, err
		}
		if text, ok := object.Data[from.key]; ok {
			return content{value: []byte(text)}, nil
		}
		return content{value: object.BinaryData[from.key]}, nil
	}
	var object corev1.Secret
	if err := a.options.Objects.Get(ctx, from.NamespacedName, &object); err != nil {
		return content{}, err
	}
	return content{value: object.Data[from.key], servers: object.Annotations[v1alpha1.AnnotationNATSURL], pipelines: object.Annotations[v1alpha1.AnnotationPipelines]}, nil
}

func (a *Access) recall(from source, keepFor time.Duration) (content, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.options.Now()
	for n, s := range a.known {
		if now.Sub(s.readAt) >= a.options.KeepFor {
			delete(a.known, n)
		}
	}
	s, ok := a.known[from]
	return s, ok && now.Sub(s.readAt) < keepFor
}

func (a *Access) remember(from source, found content) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found.readAt = a.options.Now()
	a.known[from] = found
}
