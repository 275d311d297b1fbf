package lag

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/serving"
)

// apiServiceName is the one server of external metrics that a cluster has.
const apiServiceName = "v1beta1." + external.GroupName

// Standing is what is known of the cluster's server of external metrics.
type Standing string

// The standings.
const (
	// Unknown: nobody has looked yet, or looking has always failed.
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
	// Certificate to serve with.
	*serving.Certificate

	mu       sync.Mutex
	standing Standing
	message  string
}

// NeedLeaderElection is false: each replica needs the certificate.
func (*Registration) NeedLeaderElection() bool { return false }

// Start looks at the certificate and the APIService until the context ends.
func (r *Registration) Start(ctx context.Context) error {
	serving.Keep(ctx, r.pass, func(err error) {
		r.Log.Error(err, "external metrics are not served yet", "secret", r.Secret, "apiService", apiServiceName)
	})
	return nil
}

// Ready is nil when this replica can serve, or is not asked: another server has the name, or nobody does.
// It is a check for readiness: the Service leads to replicas that are ready alone.
func (r *Registration) Ready(*http.Request) error {
	if !r.Asked() {
		return nil
	}
	_, err := r.Get()
	return err
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

// Asked says whether autoscalers can read our metrics: nobody else has the name, as far as is known.
func (r *Registration) Asked() bool {
	standing, _ := r.Standing()
	return standing != Foreign && standing != Absent
}

// pass does one thing after the other: the certificate, what is served, and who trusts it.
func (r *Registration) pass(ctx context.Context) error {
	service, err := r.observe(ctx)
	if err != nil {
		return err
	}
	authorities, err := r.Refresh(ctx)
	if err != nil {
		return err
	}
	if service == nil || !r.Leads() {
		return nil
	}
	return r.trust(ctx, service, authorities)
}

// LookFirst looks whose the APIService is, unless somebody has: until then Asked is a guess.
func (r *Registration) LookFirst(ctx context.Context) {
	if standing, _ := r.Standing(); standing == Unknown {
		_, _ = r.observe(ctx) // Start tells of it, and looks again
	}
}

// observe looks whose the APIService is. A look that fails changes nothing of what is known.
func (r *Registration) observe(ctx context.Context) (*unstructured.Unstructured, error) {
	standing, message, service, err := r.look(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || r.standing == "" || r.standing == Unknown {
		r.standing, r.message = standing, message
	}
	return service, err
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
