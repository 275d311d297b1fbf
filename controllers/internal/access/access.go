package access

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// CredentialsError says that a Secret or ConfigMap of a Pipeline cannot be used as it is.
type CredentialsError struct {
	Message string
	// Reason is that of a condition. Empty = ReasonCredentialsNotFound.
	Reason string
}

func (e *CredentialsError) Error() string { return e.Message }

// IsCredentials reports whether err is a CredentialsError. Workers must not have the Secret then.
func IsCredentials(err error) bool {
	var c *CredentialsError
	return errors.As(err, &c)
}

// Reason is the reason of a condition for an error that is about NATS; empty = it is about something else, such as one object.
func Reason(err error) string {
	var c *CredentialsError
	switch {
	case errors.As(err, &c):
		return cmp.Or(c.Reason, v1alpha1.ReasonCredentialsNotFound)
	case jetstream.IsForbidden(err):
		return v1alpha1.ReasonNATSForbidden
	case jetstream.IsUnreachable(err):
		return v1alpha1.ReasonNATSUnreachable
	}
	return ""
}

// Options of an Access.
type Options struct {
	// Objects reads Secrets and ConfigMaps from the API server, past any cache.
	Objects client.Reader
	Pool    *jetstream.Pool
	// Default is the server of pipelines that name none. Its credentials are never shown
	// to a server that a Pipeline names.
	Default jetstream.Server
	// AllowUnpaired takes Secrets that do not say which server they are for.
	AllowUnpaired bool
	// KeepFor is how long what was read is kept. Default: 30s.
	KeepFor time.Duration
	// AskAgain is how long it is kept at least, also when NATS refuses it. Default: 2s.
	AskAgain time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Access connects to the NATS servers of pipelines. Its methods may be called from any goroutine.
type Access struct {
	options Options

	mu    sync.Mutex
	known map[source]content
}

// New returns an Access.
func New(options Options) *Access {
	if options.KeepFor == 0 {
		options.KeepFor = 30 * time.Second
	}
	if options.AskAgain == 0 {
		options.AskAgain = 2 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Access{options: options, known: map[source]content{}}
}

// Client connects to the server of a pipeline: see Connect.
func (a *Access) Client(ctx context.Context, pipeline *v1alpha1.Pipeline) (*jetstream.Client, error) {
	return a.Connect(ctx, pipeline.Namespace, pipeline.Spec.NATS)
}

// Connect connects to a server that a Pipeline of a namespace names; nil is the operator's. The error is a CredentialsError, a
// jetstream.UnreachableError, or one of the API server.
//
// When the server cannot be reached with what was read a while ago, that is read again: it may
// have been replaced.
func (a *Access) Connect(ctx context.Context, namespace string, nats *v1alpha1.NATSSpec) (*jetstream.Client, error) {
	server, err := a.server(ctx, namespace, nats, a.options.KeepFor)
	if err != nil {
		return nil, err
	}
	c, unreachable := a.options.Pool.Client(server)
	if !jetstream.IsUnreachable(unreachable) {
		return c, unreachable
	}
	again, err := a.server(ctx, namespace, nats, a.options.AskAgain)
	if err != nil {
		return nil, err
	}
	if again.Same(server) {
		return nil, unreachable
	}
	return a.options.Pool.Client(again)
}

// Mounts are what the workers of a stage have mounted.
type Mounts struct {
	// NATS names the server with what belongs to it; nil is the operator's.
	NATS *v1alpha1.NATSSpec
	// UserSecret is that of their own NATS user; empty = they have none.
	UserSecret string
	// Secrets are those whose values the stage needs, and Pipeline is where it belongs.
	Secrets  []string
	Pipeline string
}

// ForStage is Connect for a stage. The operator does not need what all of the Secrets of its workers hold, and they have to be for the
// server and the Pipeline all the same.
func (a *Access) ForStage(ctx context.Context, namespace string, m Mounts) (*jetstream.Client, error) {
	if err := a.Check(ctx, namespace, m); err != nil {
		return nil, err
	}
	return a.Connect(ctx, namespace, m.NATS)
}

// Check is nil when every Secret that workers would have mounted is for their server, or for their Pipeline. The error is a CredentialsError, or one of
// the API server.
func (a *Access) Check(ctx context.Context, namespace string, m Mounts) error {
	if a.options.AllowUnpaired {
		return nil
	}
	nats := m.NATS
	url := a.options.Default.URL
	if nats != nil && nats.URL != "" {
		url = nats.URL
	}
	r := reader{access: a, namespace: namespace, keepFor: a.options.KeepFor}
	for _, f := range Files(nats, m.UserSecret) {
		if f.Kind != v1alpha1.CASecret {
			continue
		}
		if err := r.check(ctx, f.field, f.Object, url); err != nil {
			return err
		}
	}
	for _, secret := range m.Secrets {
		if err := r.checkMounted(ctx, secret, m.Pipeline); err != nil {
			return err
		}
	}
	return nil
}

// server says where and as whom the operator connects for a pipeline. With neither url nor
// credentials of its own that is as the operator's flags say.
func (a *Access) server(ctx context.Context, namespace string, nats *v1alpha1.NATSSpec, keepFor time.Duration) (jetstream.Server, error) {
	if nats == nil || (nats.URL == "" && nats.CredentialsSecretRef == nil) {
		server := a.options.Default
		server.Domain = plan.DomainOf(nats, server.Domain)
		return server, nil
	}
	server := jetstream.Server{URL: nats.URL, Domain: plan.DomainOf(nats, a.options.Default.Domain), TLS: nats.TLS != nil, HandshakeFirst: nats.TLS != nil && nats.TLS.HandshakeFirst}
	if server.URL == "" {
		server.URL = a.options.Default.URL
	}
	r := reader{access: a, namespace: namespace, keepFor: keepFor}
	for _, f := range Files(nats, "") {
		value, err := r.read(ctx, f, server.URL)
		if err != nil {
			return jetstream.Server{}, err
		}
		f.set(&server.Material, value)
	}
	if err := server.Material.Check(); err != nil {
		return jetstream.Server{}, &CredentialsError{Message: "spec.nats: " + err.Error()}
	}
	return server, nil
}
