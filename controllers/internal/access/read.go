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
	value  []byte
	readAt time.Time
}

// reader reads the files of one pipeline, and takes what was read within keepFor.
type reader struct {
	access    *Access
	namespace string
	keepFor   time.Duration
}

func (r reader) read(ctx context.Context, f File) ([]byte, error) {
	from := source{kind: f.Kind, NamespacedName: types.NamespacedName{Namespace: r.namespace, Name: f.Object}, key: f.Key}
	if value, ok := r.access.recall(from, r.keepFor); ok {
		return value, nil
	}
	value, err := r.access.get(ctx, from)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"%s: %s %s does not exist in namespace %s: create it", f.field, f.Kind, f.Object, r.namespace)}
	case apierrors.IsForbidden(err):
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"%s: the operator may not read %s %s in namespace %s: grant it the right, or watch the namespace (%v)", f.field, f.Kind, f.Object, r.namespace, err)}
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", f.Kind, f.Object, err)
	case len(value) == 0:
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"%s: %s %s has no key %s: add %s under it", f.field, f.Kind, f.Object, f.Key, f.holds)}
	}
	r.access.remember(from, value)
	return value, nil
}

func (a *Access) get(ctx context.Context, from source) ([]byte, error) {
	if from.kind == v1alpha1.CAConfigMap {
		var object corev1.ConfigMap
		if err := a.options.Objects.Get(ctx, from.NamespacedName, &object); err != nil {
			return nil, err
		}
		if text, ok := object.Data[from.key]; ok {
			return []byte(text), nil
		}
		return object.BinaryData[from.key], nil
	}
	var object corev1.Secret
	if err := a.options.Objects.Get(ctx, from.NamespacedName, &object); err != nil {
		return nil, err
	}
	return object.Data[from.key], nil
}

func (a *Access) recall(from source, keepFor time.Duration) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.options.Now()
	for n, s := range a.known {
		if now.Sub(s.readAt) >= a.options.KeepFor {
			delete(a.known, n)
		}
	}
	s, ok := a.known[from]
	return s.value, ok && now.Sub(s.readAt) < keepFor
}

func (a *Access) remember(from source, value []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[from] = content{value: value, readAt: a.options.Now()}
}
