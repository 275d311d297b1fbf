package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// defaultKey of a credentials Secret.
const defaultKey = "user.creds"

// CredentialsError says that the Secret of a Pipeline cannot be used as it is.
type CredentialsError struct{ Message string }

func (e *CredentialsError) Error() string { return e.Message }

// IsCredentials reports whether err is a CredentialsError.
func IsCredentials(err error) bool {
	var c *CredentialsError
	return errors.As(err, &c)
}

// Options of an Access.
type Options struct {
	// Secrets reads from the API server, past any cache.
	Secrets client.Reader
	Pool    *jetstream.Pool
	// Default is the server of pipelines that name none. Its credentials are never shown
	// to a server that a Pipeline names.
	Default jetstream.Server
	// KeepFor is how long a Secret is kept. Default: 30s.
	KeepFor time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Access connects to the NATS servers of pipelines. Its methods may be called from any goroutine.
type Access struct {
	options Options

	mu    sync.Mutex
	known map[secretKey]secret
}

type secretKey struct {
	types.NamespacedName
	key string
}

type secret struct {
	value  []byte
	readAt time.Time
}

// New returns an Access.
func New(options Options) *Access {
	if options.KeepFor == 0 {
		options.KeepFor = 30 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Access{options: options, known: map[secretKey]secret{}}
}

// Client connects to the server of a pipeline. The error is a CredentialsError, a
// jetstream.UnreachableError, or one of the API server.
func (a *Access) Client(ctx context.Context, pipeline *v1alpha1.Pipeline) (*jetstream.Client, error) {
	server, err := a.server(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	return a.options.Pool.Client(server)
}

// DefaultClient connects to the operator's own server.
func (a *Access) DefaultClient() (*jetstream.Client, error) {
	return a.options.Pool.Client(a.options.Default)
}

func (a *Access) server(ctx context.Context, pipeline *v1alpha1.Pipeline) (jetstream.Server, error) {
	nats := pipeline.Spec.NATS
	if nats == nil || (nats.URL == "" && nats.CredentialsSecretRef == nil) {
		return a.options.Default, nil
	}
	server := jetstream.Server{URL: nats.URL}
	if server.URL == "" {
		server.URL = a.options.Default.URL
	}
	if nats.CredentialsSecretRef == nil {
		return server, nil
	}
	var err error
	server.Credentials, err = a.credentials(ctx, pipeline.Namespace, nats.CredentialsSecretRef)
	return server, err
}

func (a *Access) credentials(ctx context.Context, namespace string, ref *v1alpha1.SecretKeyRef) ([]byte, error) {
	name := secretKey{NamespacedName: types.NamespacedName{Namespace: namespace, Name: ref.Name}, key: CredentialsKey(ref)}
	if value, ok := a.recall(name); ok {
		return value, nil
	}
	var object corev1.Secret
	err := a.options.Secrets.Get(ctx, name.NamespacedName, &object)
	if apierrors.IsNotFound(err) {
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"spec.nats.credentialsSecretRef: Secret %s does not exist in namespace %s: create it", ref.Name, namespace)}
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", ref.Name, err)
	}
	value := object.Data[name.key]
	if len(value) == 0 {
		return nil, &CredentialsError{Message: fmt.Sprintf(
			"spec.nats.credentialsSecretRef: Secret %s has no key %s: add the content of a .creds file under it", ref.Name, name.key)}
	}
	a.remember(name, value)
	return value, nil
}

// CredentialsKey is the key of the Secret that holds the .creds file.
func CredentialsKey(ref *v1alpha1.SecretKeyRef) string {
	if ref.Key != "" {
		return ref.Key
	}
	return defaultKey
}

func (a *Access) recall(name secretKey) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.options.Now()
	for n, s := range a.known {
		if now.Sub(s.readAt) >= a.options.KeepFor {
			delete(a.known, n)
		}
	}
	s, ok := a.known[name]
	return s.value, ok
}

func (a *Access) remember(name secretKey, value []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[name] = secret{value: value, readAt: a.options.Now()}
}
