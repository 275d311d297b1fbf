package lag

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/test/harness"
)

// apiService is one that leads to a Service of namespace default.
func apiService(service string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": apiServiceName},
		"spec": map[string]any{
			"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"service": map[string]any{"namespace": "default", "name": service, "port": int64(443)},
		},
	}}
}

// TestRegistration keeps certificate and trust in a real API server: in a Secret of its own and in a given
// one, by the leader and by others, in our APIService and never in another one's.
func TestRegistration(t *testing.T) {
	plane := harness.StartAPIServer(t)
	c, err := client.New(plane.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	elected := make(chan struct{})
	close(elected)
	now := start
	leader := &Registration{
		Reader: c, Writer: c, Service: types.NamespacedName{Namespace: "default", Name: "metrics"},
		Secret: types.NamespacedName{Namespace: "default", Name: "own"}, Managed: true,
		Elected: elected, Now: func() time.Time { return now }, Log: logr.Discard(),
	}
	standby := &Registration{
		Reader: c, Writer: c, Service: leader.Service, Secret: leader.Secret, Managed: true,
		Elected: make(chan struct{}), Now: leader.Now, Log: logr.Discard(),
	}
	given := &Registration{
		Reader: c, Writer: c, Service: leader.Service, Secret: types.NamespacedName{Namespace: "default", Name: "given"},
		Elected: elected, Now: leader.Now, Log: logr.Discard(),
	}
	secret := func(name string) corev1.Secret {
		t.Helper()
		var s corev1.Secret
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	trusted := func() []byte {
		t.Helper()
		s := apiService("")
		if err := c.Get(t.Context(), types.NamespacedName{Name: apiServiceName}, s); err != nil {
			t.Fatal(err)
		}
		text, _, _ := unstructured.NestedString(s.Object, "spec", "caBundle")
		bundle, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	stands := func(r *Registration, want Standing, backend scaling.Backend) {
		t.Helper()
		if got, message := r.Standing(); got != want || r.Backend() != backend {
			t.Errorf("got %s (%s), backend %s; want %s, %s", got, message, r.Backend(), want, backend)
		}
	}

	ready := func(r *Registration, want bool) {
		t.Helper()
		if err := r.Ready(nil); (err == nil) != want {
			t.Errorf("readiness: got %v, want ready %t", err, want)
		}
	}

	// The API server writes the status of APIServices meanwhile: a conflict is tried again, as Start does.
	pass := func(r *Registration) {
		t.Helper()
		harness.Eventually(t, 20*time.Second, func() error { return r.pass(t.Context()) })
	}
	stands(leader, Unknown, scaling.External)
	if err := standby.pass(t.Context()); err == nil {
		t.Error("a standby made a certificate, or did without")
	}
	ready(standby, true) // nobody asks: there is no APIService
	pass(leader)
	stands(leader, Absent, scaling.Direct)

	if err := c.Create(t.Context(), apiService("metrics")); err != nil {
		t.Fatal(err)
	}
	fresh := &Registration{
		Reader: c, Writer: c, Service: leader.Service, Secret: types.NamespacedName{Namespace: "default", Name: "missing"},
		Elected: standby.Elected, Now: leader.Now, Log: logr.Discard(),
	}
	ready(fresh, false) // nothing is known yet
	if err := fresh.pass(t.Context()); err == nil {
		t.Error("served without a certificate")
	}
	ready(fresh, false)
	for _, r := range []*Registration{leader, standby} {
		pass(r)
		ready(r, true)
		if _, err := r.Certificate(); err != nil {
			t.Error(err)
		}
	}
	if got := leader.Backend(); got != scaling.External {
		t.Errorf("our APIService: got backend %s", got)
	}
	first := secret("own")
	if !bytes.Equal(trusted(), first.Data[keyAuthorities]) {
		t.Error("the APIService does not trust the authority")
	}
	pass(leader)
	if again := secret("own"); again.ResourceVersion != first.ResourceVersion {
		t.Error("a certificate that is good was written again")
	}
	now = now.Add(servingLife * 3 / 4)
	pass(leader)
	if again := secret("own"); bytes.Equal(again.Data[keyCertificate], first.Data[keyCertificate]) {
		t.Error("a certificate that ends soon was not renewed")
	}

	// A release from before has a Secret without an owner: helm uninstall would leave it.
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "metrics"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}
	if err := c.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	pass(leader)
	owned := secret("own")
	if owners := owned.OwnerReferences; len(owners) != 1 || owners[0].Kind != "Service" || owners[0].UID != service.UID {
		t.Errorf("got owners %v, want the Service: the Secret stays when the chart is uninstalled", owners)
	}
	pass(leader)
	if again := secret("own"); again.ResourceVersion != owned.ResourceVersion {
		t.Error("a Secret that has its owner was written again")
	}

	if err := given.pass(t.Context()); err == nil {
		t.Error("a Secret that does not exist was made: it is somebody else's")
	}
	data, _, err := renew(nil, now, names)
	if err != nil {
		t.Fatal(err)
	}
	delete(data, keyAuthorityKey)
	if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "given"}, Type: corev1.SecretTypeTLS, Data: data}); err != nil {
		t.Fatal(err)
	}
	pass(given)
	if owners := secret("given").OwnerReferences; len(owners) > 0 {
		t.Errorf("a given Secret got owners %v", owners)
	}
	if !bytes.Equal(trusted(), data[keyAuthorities]) {
		t.Error("the APIService does not trust the authority of the given Secret")
	}

	if err := c.Delete(t.Context(), apiService("")); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), apiService("keda")); err != nil {
		t.Fatal(err)
	}
	pass(leader)
	stands(leader, Foreign, scaling.Direct)
	if len(trusted()) > 0 {
		t.Error("another one's APIService was changed")
	}
}
