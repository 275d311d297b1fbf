package lag

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/serving"
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
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	registration := func(secret string, managed bool, elected <-chan struct{}) *Registration {
		return &Registration{Certificate: &serving.Certificate{
			Reader: c, Writer: c, Service: types.NamespacedName{Namespace: "default", Name: "metrics"},
			Secret: types.NamespacedName{Namespace: "default", Name: secret}, Managed: managed,
			Elected: elected, Now: func() time.Time { return now }, Log: logr.Discard(),
		}}
	}
	leader, standby := registration("own", true, elected), registration("own", true, make(chan struct{}))
	given := registration("given", false, elected)
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
	stands := func(r *Registration, want Standing, asked bool) {
		t.Helper()
		if got, message := r.Standing(); got != want || r.Asked() != asked {
			t.Errorf("got %s (%s), asked %t; want %s, %t", got, message, r.Asked(), want, asked)
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
	stands(leader, Unknown, true)
	if err := standby.pass(t.Context()); err == nil {
		t.Error("a standby made a certificate, or did without")
	}
	ready(standby, true) // nobody asks: there is no APIService
	pass(leader)
	stands(leader, Absent, false)

	if err := c.Create(t.Context(), apiService("metrics")); err != nil {
		t.Fatal(err)
	}
	fresh := registration("missing", true, standby.Elected)
	ready(fresh, false) // nothing is known yet
	if err := fresh.pass(t.Context()); err == nil {
		t.Error("served without a certificate")
	}
	ready(fresh, false)
	for _, r := range []*Registration{leader, standby} {
		pass(r)
		ready(r, true)
		if _, err := r.Get(); err != nil {
			t.Error(err)
		}
	}
	if !leader.Asked() {
		t.Error("our APIService: autoscalers cannot read it")
	}
	first := secret("own")
	if !bytes.Equal(trusted(), first.Data["ca.crt"]) {
		t.Error("the APIService does not trust the authority")
	}
	pass(leader)
	if again := secret("own"); again.ResourceVersion != first.ResourceVersion {
		t.Error("a certificate that is good was written again")
	}
	now = now.Add(70 * 24 * time.Hour) // of 90 days
	pass(leader)
	if again := secret("own"); bytes.Equal(again.Data["tls.crt"], first.Data["tls.crt"]) {
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
	data := maps.Clone(secret("own").Data)
	delete(data, "ca.key")
	data["ca.crt"] = append(slices.Clone(data["ca.crt"]), data["ca.crt"]...) // tells it from that of the own Secret
	if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "given"}, Type: corev1.SecretTypeTLS, Data: data}); err != nil {
		t.Fatal(err)
	}
	pass(given)
	if owners := secret("given").OwnerReferences; len(owners) > 0 {
		t.Errorf("a given Secret got owners %v", owners)
	}
	if !bytes.Equal(trusted(), data["ca.crt"]) {
		t.Error("the APIService does not trust the authority of the given Secret")
	}

	if err := c.Delete(t.Context(), apiService("")); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), apiService("keda")); err != nil {
		t.Fatal(err)
	}
	pass(leader)
	stands(leader, Foreign, false)
	if len(trusted()) > 0 {
		t.Error("another one's APIService was changed")
	}
}

// unreliable is a reader that fails when it is told to.
type unreliable struct {
	client.Reader
	fails bool
}

func (u *unreliable) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if u.fails {
		return errors.New("etcdserver: request timed out")
	}
	return u.Reader.Get(ctx, key, o, opts...)
}

// TestBackendDoesNotFlap: what was seen of the APIService holds while it cannot be read, and nobody decides before the first look.
func TestBackendDoesNotFlap(t *testing.T) {
	plane := harness.StartAPIServer(t)
	c, err := client.New(plane.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), apiService("adapter")); err != nil {
		t.Fatal(err)
	}
	reader := &unreliable{Reader: c}
	r := &Registration{Certificate: &serving.Certificate{Reader: reader, Service: types.NamespacedName{Namespace: "default", Name: "metrics"}, Log: logr.Discard()}}
	r.LookFirst(t.Context())
	wants := func() {
		t.Helper()
		if standing, message := r.Standing(); standing != Foreign || r.Asked() {
			t.Errorf("got %s (%s), asked", standing, message)
		}
	}
	wants()
	reader.fails = true
	if _, err := r.observe(t.Context()); err == nil {
		t.Fatal("the reader did not fail")
	}
	wants()
}
