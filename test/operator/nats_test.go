package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

func TestUnreachableNATSBecomesAConditionAndHeals(t *testing.T) {
	x := newTenant(t)
	server := harness.StartNATS(t, natsserver.Options{})
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	x.start(p)
	server.Kill9()
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonNATSUnreachable)
	if !strings.Contains(c.Message, server.URL()) {
		t.Errorf("got %q, want the server", c.Message)
	}
	x.condition(p, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonNATSUnreachable)
	s := x.stage("obs-validate")
	x.condition(s, v1alpha1.ConditionConsumersReady, metav1.ConditionFalse, v1alpha1.ReasonNATSUnreachable)
	x.event("obs", v1alpha1.ReasonNATSUnreachable, server.URL())
	if got := x.deployment("obs-validate").Status.ReadyReplicas; got != 1 {
		t.Errorf("got %d workers, want 1: what runs goes on", got)
	}

	// The others do not notice, and a suspension gets through.
	neighbour := nextTenant(t)
	neighbour.dropStreams()
	started := time.Now()
	neighbour.start(neighbour.small())
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("a neighbour took %s to become ready", took)
	}
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true })
	x.eventually(func() error {
		if got := *x.deployment("obs-validate").Spec.Replicas; got != 0 {
			return fmt.Errorf("got %d replicas, want 0", got)
		}
		return nil
	})
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Suspend = false })

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.ready(p, s)
}

func TestPipelineBeforeItsNATS(t *testing.T) {
	x := newTenant(t)
	server := harness.StartNATS(t, natsserver.Options{})
	server.Shutdown()
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	x.create(p)
	x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonNATSUnreachable)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.ready(p)
}

func TestStreamsOfARestartedServerWithoutItsStoreComeBack(t *testing.T) {
	x := newTenant(t)
	server := harness.StartNATS(t, natsserver.Options{})
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	p.Spec.Streams.Storage = v1alpha1.StorageMemory
	x.start(p)
	server.Kill9()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	x.eventually(func() error {
		_, err := nc.Request("$JS.API.CONSUMER.INFO."+x.stream("raw")+"."+x.durable("validate"), nil, time.Second)
		return err
	})
	x.ready(x.stage("obs-validate"), p)
}

func TestMissingCredentials(t *testing.T) {
	x := newTenant(t)
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}}
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotFound)
	if !strings.Contains(c.Message, "nats-user") || !strings.Contains(c.Message, "create it") {
		t.Errorf("got %q, want the Secret and what to do", c.Message)
	}
	x.create(&corev1.Secret{ObjectMeta: x.forServer("nats-user", shared.nats.URL()), StringData: map[string]string{"other": "x"}})
	x.eventually(func() error {
		c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotFound)
		if !strings.Contains(c.Message, "user.creds") {
			return fmt.Errorf("got %q, want the missing key", c.Message)
		}
		return nil
	})
	x.delete(p)
	x.gone(p) // and a deletion without credentials does not hang
}

// TestASecretGoesOnlyToItsServers: whoever writes a Pipeline may not read the Secret that it names. A server that the Secret does not name
// gets nothing, nor does a worker.
func TestASecretGoesOnlyToItsServers(t *testing.T) {
	x := newTenant(t)
	const config = `authorization {users = [{user: u, password: p}]}`
	server, other := harness.RunEmbeddedNATS(t, natsserver.Options{Config: config}), harness.RunEmbeddedNATS(t, natsserver.Options{Config: config})
	secret := &corev1.Secret{ObjectMeta: x.forServer("nats-user", other.URL()), StringData: map[string]string{"username": "u", "password": "p"}}
	stages := &corev1.Secret{ObjectMeta: x.named("nats-stage"), StringData: map[string]string{"username": "u", "password": "p"}}
	x.create(secret, stages)
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{
		URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}, CredentialsType: v1alpha1.CredentialsPassword,
	}
	p.Spec.Stages[0].Workers.NATSSecretName = "nats-stage"
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotForServer)
	if want := "annotate --overwrite -n " + x.ns + " secret nats-user 'millrace.dev/nats-url=" + other.URL() + "," + server.URL() + "'"; !strings.Contains(c.Message, want) {
		t.Errorf("got %q, want %q", c.Message, want)
	}
	edit(x, secret, func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationNATSURL] += "," + server.URL() })
	x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	s := x.stage("obs-validate")
	c = x.condition(s, v1alpha1.ConditionConsumersReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotForServer)
	if want := "workers.natsSecretName: Secret nats-stage"; !strings.HasPrefix(c.Message, want) {
		t.Errorf("got %q, want %q", c.Message, want)
	}
	if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(s), &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want no Deployment: its pods would have the Secret", err)
	}
	edit(x, stages, func(s *corev1.Secret) { s.Annotations = map[string]string{v1alpha1.AnnotationNATSURL: server.URL()} })
	x.ready(p, s)

	// Workers that run stay as they are, and get no other Secret.
	x.create(&corev1.Secret{ObjectMeta: x.named("bank"), StringData: map[string]string{"username": "u", "password": "p"}})
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.NATSSecretName = "bank" })
	x.condition(s, v1alpha1.ConditionWorkersAvailable, metav1.ConditionUnknown, v1alpha1.ReasonCredentialsNotForServer)
	for _, v := range x.deployment("obs-validate").Spec.Template.Spec.Volumes {
		if v.Projected != nil && v.Projected.Sources[0].Secret.Name != "nats-stage" {
			t.Errorf("the workers mount Secret %s", v.Projected.Sources[0].Secret.Name)
		}
	}
}

func TestPowerSafe(t *testing.T) {
	x := newTenant(t)
	p := x.small()
	p.Spec.Streams.Durability = v1alpha1.DurabilityPowerSafe
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionPowerSafe, metav1.ConditionFalse, v1alpha1.ReasonNotSynced)
	if !strings.Contains(c.Message, shared.nats.MonitorURL()) || !strings.Contains(c.Message, "sync_interval: always") {
		t.Errorf("got %q, want the server and what to do", c.Message)
	}
	x.condition(p, v1alpha1.ConditionStagesReady, metav1.ConditionTrue, v1alpha1.ReasonReady) // events flow on
	x.condition(p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotSynced)
	x.condition(p, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotSynced)
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Streams.Durability = v1alpha1.DurabilityDefault })
	x.ready(p)
	x.get(p)
	if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionPowerSafe); c != nil {
		t.Errorf("got %+v, want nothing about what is not demanded", c)
	}

	// A server of the pipeline's own cannot be asked.
	other := nextTenant(t)
	server := harness.StartNATS(t, natsserver.Options{SyncAlways: true})
	p = other.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	p.Spec.Streams.Durability = v1alpha1.DurabilityPowerSafe
	other.create(p)
	other.condition(p, v1alpha1.ConditionPowerSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotVerified)
	other.ready(p)
}

// TestJetStreamInADomain: JetStream behind a leaf node is found once its domain is named, and then watched there.
func TestJetStreamInADomain(t *testing.T) {
	x := newTenant(t)
	hub, leaf := harness.RunEmbeddedLeaf(t, "far")
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: leaf.URL()}
	x.create(p)
	x.saying(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonNATSUnreachable, "set spec.nats.jetStreamDomain")
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.NATS.JetStreamDomain = "far" })
	x.ready(p)
	if got := x.configMaps("validate"); len(got) != 1 || !strings.Contains(got[0].Data["stage.json"], `"jetStreamDomain": "far"`) {
		t.Errorf("got %v, want the domain in the config of the workers", got)
	}
	js := harness.JetStream(t, hub)
	if err := js.DeleteConsumer(t.Context(), x.stream("raw"), x.durable("validate")); err != nil {
		t.Fatal(err)
	}
	x.eventually(func() error { // an advisory crosses the leaf node
		_, err := js.Consumer(t.Context(), x.stream("raw"), x.durable("validate"))
		return err
	})
}
