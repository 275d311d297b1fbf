package lag

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/scaling"
)

// apiServiceName is the one server of external metrics that a cluster has.
const apiServiceName = "v1beta1." + external.GroupName

// Standing is what is known of the cluster's server of external metrics.
type Standing string

// The standings.
const (
	// Unknown: nobody has looked yet, or looking failed.
	Unknown Standing = "unknown"
	// Ours: the API server asks this operator.
	Ours Standing = "ours"
	// Unavailable: ours, but the API server does not reach it.
	Unavailable Standing = "unavailable"
	// Foreign: another server has the name. It is left alone.
	Foreign Standing = "foreign"
	// Absent: there is no APIService.
	Absent Standing = "absent"
)

// Registration keeps the serving certificate, and the APIService's trust in it.
type Registration struct {
	// Reader reads the Secret and the APIService, past any cache.
	Reader client.Reader
	Writer client.Writer
	// Service that the APIService has to name to be ours.
	Service types.NamespacedName
	// Secret holds the certificate.
	Secret types.NamespacedName
	// Managed says that the Secret is the operator's own: the leader makes and renews what is in it. Else
	// somebody else does, such as cert-manager.
	Managed bool
	// Elected is closed when this replica is the leader: only that one writes.
	Elected <-chan struct{}
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger

	mu       sync.Mutex
	serving  *tls.Certificate
	standing Standing
	message  string
}

// How often to look: soon while something is missing.
const (
	lookSoon  = 2 * time.Second
	lookAgain = 30 * time.Second
)

// NeedLeaderElection is false: each replica needs the certificate.
func (*Registration) NeedLeaderElection() bool { return false }

// Start looks at the certificate and the APIService until the context ends.
func (r *Registration) Start(ctx context.Context) error {
	for {
		wait := lookAgain
		if err := r.pass(ctx); err != nil {
			wait = lookSoon
			r.Log.Error(err, "external metrics are not served yet", "secret", r.Secret, "apiService", apiServiceName)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Certificate is what to serve with.
func (r *Registration) Certificate() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil {
		return nil, fmt.Errorf("there is no certificate yet: Secret %s", r.Secret)
	}
	return r.serving, nil
}

// Ready is nil when this replica can serve, or is not asked: another server has the name, or nobody does.
// It is a check for readiness: the Service leads to replicas that are ready alone.
func (r *Registration) Ready(*http.Request) error {
	switch standing, _ := r.Standing(); standing {
	case Foreign, Absent:
		return nil
	default:
		_, err := r.Certificate()
		return err
	}
}

// Standing says whose the cluster's external metrics are, and in words what is wrong.
func (r *Registration) Standing() (Standing, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.standing == "" {
		return Unknown, "nobody has looked at APIService " + apiServiceName + " yet"
	}
	return r.standing, r.message
}

// Backend is who sets the number of workers: HorizontalPodAutoscalers as long as they can read our
// metrics.
func (r *Registration) Backend() scaling.Backend {
	if standing, _ := r.Standing(); standing == Foreign || standing == Absent {
		return scaling.Direct
	}
	return scaling.External
}

func (r *Registration) leads() bool {
	select {
	case <-r.Elected:
		return true
	default:
		return false
	}
}

// pass does one thing after the other: the certificate, what is served, and who trusts it.
func (r *Registration) pass(ctx context.Context) error {
	standing, message, service, err := r.look(ctx)
	r.mu.Lock()
	r.standing, r.message = standing, message
	r.mu.Unlock()
	if err != nil {
		return err
	}
	data, err := r.certificates(ctx)
	if err != nil {
		return err
	}
	serving, err := parsePair(data[keyCertificate], data[keyPrivate])
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", r.Secret, err)
	}
	r.mu.Lock()
	r.serving = &serving
	r.mu.Unlock()
	if service == nil || !r.leads() {
		return nil
	}
	return r.trust(ctx, service, data[keyAuthorities])
}

// look finds out whose the APIService is; service is nil when it is not ours.
func (r *Registration) look(ctx context.Context) (standing Standing, message string, service *unstructured.Unstructured, err error) {
	service = &unstructured.Unstructured{}
	service.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"})
	err = r.Reader.Get(ctx, types.NamespacedName{Name: apiServiceName}, service)
	switch {
	case apierrors.IsNotFound(err):
		return Absent, "there is no APIService " + apiServiceName + ": install the chart with autoscaling.backend=external and autoscaling.external.apiService.enabled", nil, nil
	case err != nil:
		return Unknown, fmt.Sprintf("cannot read APIService %s: %v", apiServiceName, err), nil, err
	}
	namespace, _, _ := unstructured.NestedString(service.Object, "spec", "service", "namespace")
	name, _, _ := unstructured.NestedString(service.Object, "spec", "service", "name")
	if namespace != r.Service.Namespace || name != r.Service.Name {
		return Foreign, fmt.Sprintf("APIService %s belongs to %s/%s, and a cluster has one: it is left alone", apiServiceName, namespace, name), nil, nil
	}
	if available, why := availability(service); !available {
		return Unavailable, fmt.Sprintf("the API server does not reach APIService %s: %s", apiServiceName, why), service, nil
	}
	return Ours, "", service, nil
}

// availability is what the API server says of an APIService; one that was just made is given a chance.
func availability(service *unstructured.Unstructured) (available bool, why string) {
	conditions, _, _ := unstructured.NestedSlice(service.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] == "Available" && condition["status"] == "False" {
			return false, fmt.Sprint(condition["message"])
		}
	}
	return true, ""
}

// certificates reads the Secret and, if it is the operator's own, keeps it fresh.
func (r *Registration) certificates(ctx context.Context) (map[string][]byte, error) {
	var secret corev1.Secret
	err := r.Reader.Get(ctx, r.Secret, &secret)
	missing := apierrors.IsNotFound(err)
	switch {
	case missing && !r.Managed:
		return nil, fmt.Errorf("Secret %s does not exist: create it, or have cert-manager do so", r.Secret) //nolint:staticcheck // a kind
	case err != nil && !missing:
		return nil, err
	case !r.Managed:
		return secret.Data, nil
	case !r.leads():
		if missing {
			return nil, errors.New("the leader has not made the certificate yet")
		}
		return secret.Data, nil
	}
	data, changed, err := renew(secret.Data, r.Now(), r.names())
	if err != nil {
		return nil, err
	}
	owned, err := r.own(ctx, &secret)
	if err != nil {
		return nil, err
	}
	if !changed && !owned {
		return data, nil
	}
	secret.Data = data
	if missing {
		secret.Namespace, secret.Name, secret.Type = r.Secret.Namespace, r.Secret.Name, corev1.SecretTypeTLS
		err = r.Writer.Create(ctx, &secret)
	} else {
		err = r.Writer.Update(ctx, &secret) // refused when another one was faster
	}
	if err != nil {
		return nil, fmt.Errorf("write Secret %s: %w", r.Secret, err)
	}
	if changed {
		r.Log.Info("renewed the certificate of the external metrics", "secret", r.Secret)
	}
	return data, nil
}

// own makes the Service the owner of the Secret, so that Kubernetes deletes the Secret with it when the chart is
// uninstalled. Without the Service, or the right to read it, the Secret stays as it is: the certificate is what counts.
func (r *Registration) own(ctx context.Context, secret *corev1.Secret) (changed bool, err error) {
	if r.Service.Namespace != r.Secret.Namespace {
		return false, nil
	}
	var service corev1.Service
	if err := r.Reader.Get(ctx, r.Service, &service); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read Service %s: %w", r.Service, err)
	}
	want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID}}
	if equality.Semantic.DeepEqual(secret.OwnerReferences, want) {
		return false, nil
	}
	secret.OwnerReferences = want
	return true, nil
}

// names that the API server may call the Service by.
func (r *Registration) names() []string {
	return []string{r.Service.Name + "." + r.Service.Namespace + ".svc", r.Service.Name + "." + r.Service.Namespace + ".svc.cluster.local"}
}

// trust writes the authorities into our APIService. A Secret without any leaves that to whoever gave it.
func (r *Registration) trust(ctx context.Context, service *unstructured.Unstructured, authorities []byte) error {
	text, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle")
	have, err := base64.StdEncoding.DecodeString(text)
	if len(authorities) == 0 || (err == nil && bytes.Equal(have, authorities)) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		// Whoever changed it meanwhile may have made it another one's.
		"metadata": map[string]any{"resourceVersion": service.GetResourceVersion()},
		"spec":     map[string]any{"caBundle": authorities},
	})
	if err != nil {
		return err
	}
	if err := r.Writer.Patch(ctx, service, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("write the CA into APIService %s: %w", apiServiceName, err)
	}
	r.Log.Info("the API server trusts the certificate of the external metrics", "apiService", apiServiceName)
	return nil
}
