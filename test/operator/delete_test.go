package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

func TestRetainedStreamsAreTakenOverAgain(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	x.delete(p)
	x.gone(p)
	x.event("obs", v1alpha1.ReasonRetained, x.stream("raw"))
	x.nothingLeft()
	if x.consumer(x.stream("raw"), x.durable("validate")) != nil {
		t.Error("the consumer was not released")
	}

	again := x.start(x.small())
	s, err := x.js.Stream(t.Context(), x.stream("raw"))
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo()
	if info.State.Msgs != 1 || info.Config.Metadata["millrace.dev/owner-uid"] != string(again.UID) {
		t.Errorf("got %d messages of owner %s, want 1 of %s", info.State.Msgs, info.Config.Metadata["millrace.dev/owner-uid"], again.UID)
	}
	x.event("obs", v1alpha1.ReasonUpdated, "took over retained stream")
}

func TestDeletionPolicyDelete(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.pipeline()
	p.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	x.start(p)
	bystander := x.small()
	bystander.Name, bystander.Spec.Ingress = "other", v1alpha1.IngressSpec{}
	x.create(bystander)
	x.ready(bystander)
	x.delete(p)
	x.gone(p)
	for _, what := range []string{"raw", "validate", "enrich", "correlate", "analyze", "insights", "dead_letters"} {
		if x.hasStream(x.stream(what)) {
			t.Errorf("stream %s is still there", x.stream(what))
		}
	}
	if x.hasStream(x.leases()) {
		t.Error("the bucket of the leases is still there")
	}
	if x.hasStream(x.snapshots()) {
		t.Error("the bucket of the snapshots is still there")
	}
	x.event("obs", v1alpha1.ReasonDeleted, x.stream("raw"))
	x.ready(bystander)
	x.delete(bystander)
	x.gone(bystander)
}

func TestDeletionWithoutNATSDoesNotHang(t *testing.T) {
	for name, policy := range map[string]v1alpha1.DeletionPolicy{"retain": v1alpha1.DeletionRetain, "delete": v1alpha1.DeletionDelete} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t)
			server := harness.StartNATS(t, natsserver.Options{})
			p := x.small()
			p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
			p.Spec.DeletionPolicy = policy
			x.start(p)
			server.Kill9()
			x.delete(p)
			started := time.Now()
			x.gone(p)
			if took := time.Since(started); took > 4*cleanupTimeout {
				t.Errorf("took %s", took)
			}
			x.event("obs-validate", v1alpha1.ReasonRetained, x.durable("validate"))
			if policy == v1alpha1.DeletionDelete {
				x.event("obs", v1alpha1.ReasonRetained, "left behind")
			}
			x.nothingLeft()
		})
	}
}

func TestDeletionWaitsForNATSWhileItMay(t *testing.T) {
	x := newTenant(t)
	server := harness.StartNATS(t, natsserver.Options{})
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	p.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	x.start(p)
	server.Kill9()
	x.delete(p)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.gone(p)
	x.event("obs", v1alpha1.ReasonDeleted, x.stream("raw"))
}

func TestNamespaceNeverHangs(t *testing.T) {
	x := newTenant(t)
	server := harness.StartNATS(t, natsserver.Options{})
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	p.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	x.start(p)
	a := x.attached("archive", "validate")
	x.create(a)
	x.ready(a)
	server.Kill9()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.ns}}
	x.delete(namespace)
	x.gone(namespace)
	x.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.ns}}) // for the clean-up of the test
}

func TestStageWhosePipelineIsGoneCanGo(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	a := x.attached("archive", "validate")
	x.create(a)
	x.ready(a)
	x.delete(p)
	x.gone(p)
	x.condition(a, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPipelineNotFound)
	x.delete(a)
	x.gone(a)
	if x.consumer(x.stream("validate"), x.lane("archive", 0)) != nil {
		t.Error("the consumer of the deleted stage is still there")
	}
}

// nothingLeft waits until nothing of the operator's is in the namespace.
func (x *tenant) nothingLeft() {
	x.t.Helper()
	x.eventually(func() error {
		for _, seen := range x.versions() {
			// The cluster puts a ConfigMap of its own into each namespace.
			if seen != "" && !strings.Contains(seen, "kube-root-ca.crt") {
				return fmt.Errorf("still there: %s", seen)
			}
		}
		var accounts corev1.ServiceAccountList
		return x.client.List(x.t.Context(), &accounts, client.InNamespace(x.ns))
	})
}
