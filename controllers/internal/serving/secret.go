package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// How often to look at what the API server trusts: soon while something is missing.
const (
	lookSoon  = 2 * time.Second
	lookAgain = 30 * time.Second
)

// Certificate is the serving certificate of one Service.
type Certificate struct {
	// Reader reads the Secret past any cache.
	Reader client.Reader
	Writer client.Writer
	// Service that the API server calls.
	Service types.NamespacedName
	// Secret holds the certificate.
	Secret types.NamespacedName
	// Names, besides those by which the API server calls the Service, that the certificate is for.
	Names []string
	// Managed says that the operator owns the Secret. Otherwise somebody else keeps it.
	Managed bool
	// Elected is closed when this replica is the leader: only the leader writes.
	Elected <-chan struct{}
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger

	mu      sync.Mutex
	serving *tls.Certificate
}

// Get returns the certificate to serve with. It fails until Refresh has succeeded once.
func (c *Certificate) Get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving == nil {
		return nil, fmt.Errorf("there is no certificate yet: Secret %s", c.Secret)
	}
	return c.serving, nil
}

// Leads says whether this replica is the leader.
func (c *Certificate) Leads() bool {
	select {
	case <-c.Elected:
		return true
	default:
		return false
	}
}

// Refresh reads the Secret, renews it where that is due, and returns the authorities that the API
// server has to trust, as PEM. A Secret that somebody else keeps may hold none.
func (c *Certificate) Refresh(ctx context.Context) (authorities []byte, err error) {
	data, err := c.content(ctx)
	if err != nil {
		return nil, err
	}
	serving, err := parsePair(data[keyCertificate], data[keyPrivate])
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", c.Secret, err)
	}
	c.mu.Lock()
	c.serving = &serving
	c.mu.Unlock()
	return data[keyAuthorities], nil
}

// Keep calls pass until the context ends: often while it fails, every half minute otherwise. failed
// hears of each error.
func Keep(ctx context.Context, pass func(context.Context) error, failed func(error)) {
	for {
		wait := lookAgain
		if err := pass(ctx); err != nil {
			wait = lookSoon
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// content reads the Secret and, if the operator owns it, keeps it fresh.
func (c *Certificate) content(ctx context.Context) (map[string][]byte, error) {
	var secret corev1.Secret
	err := c.Reader.Get(ctx, c.Secret, &secret)
	missing := apierrors.IsNotFound(err)
	switch {
	case missing && !c.Managed:
		return nil, fmt.Errorf("Secret %s does not exist: create it, or have cert-manager do so", c.Secret) //nolint:staticcheck // a kind
	case err != nil && !missing:
		return nil, err
	case !c.Managed:
		return secret.Data, nil
	case !c.Leads():
		if missing {
			return nil, errors.New("the leader has not made the certificate yet")
		}
		return secret.Data, nil
	}
	data, changed, err := renew(secret.Data, c.Now(), c.names())
	if err != nil {
		return nil, err
	}
	owned, err := c.own(ctx, &secret)
	if err != nil {
		return nil, err
	}
	if !changed && !owned {
		return data, nil
	}
	secret.Data = data
	if missing {
		secret.Namespace, secret.Name, secret.Type = c.Secret.Namespace, c.Secret.Name, corev1.SecretTypeTLS
		err = c.Writer.Create(ctx, &secret)
	} else {
		err = c.Writer.Update(ctx, &secret) // refused when another one was faster
	}
	if err != nil {
		return nil, fmt.Errorf("write Secret %s: %w", c.Secret, err)
	}
	if changed {
		c.Log.Info("renewed the serving certificate", "secret", c.Secret)
	}
	return data, nil
}

// own makes the Service the owner of the Secret, so that Kubernetes deletes the Secret with it when the chart is
// uninstalled. Without the Service, or the right to read it, the Secret stays as it is: the certificate is what counts.
func (c *Certificate) own(ctx context.Context, secret *corev1.Secret) (changed bool, err error) {
	if c.Service.Namespace != c.Secret.Namespace {
		return false, nil
	}
	var service corev1.Service
	if err := c.Reader.Get(ctx, c.Service, &service); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read Service %s: %w", c.Service, err)
	}
	want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID}}
	if equality.Semantic.DeepEqual(secret.OwnerReferences, want) {
		return false, nil
	}
	secret.OwnerReferences = want
	return true, nil
}

// names that the certificate is for: first those that the API server may call the Service by.
func (c *Certificate) names() []string {
	all := []string{c.Service.Name + "." + c.Service.Namespace + ".svc", c.Service.Name + "." + c.Service.Namespace + ".svc.cluster.local"}
	for _, name := range c.Names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
