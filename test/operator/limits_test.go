package operator_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// TestStreamsBeyondTheLimitsOfTheAccount: condition and Event name the setting, its value and the limit, and the
// setting heals.
func TestStreamsBeyondTheLimitsOfTheAccount(t *testing.T) {
	x := newTenant(t)
	server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `accounts { A {
  jetstream { max_file: 3GiB, max_mem: 32MiB, max_bytes_required: true, disk_max_stream_bytes: 1GiB }
  users: [{user: u, password: p}]
} }`})
	x.create(&corev1.Secret{ObjectMeta: x.forServer("nats-user", server.URL()), StringData: map[string]string{"username": "u", "password": "p"}})
	p := x.small()
	p.Spec.Streams.MaxBytes = nil
	p.Spec.NATS = &v1alpha1.NATSSpec{
		URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}, CredentialsType: v1alpha1.CredentialsPassword,
	}
	x.create(p)
	const want = "spec.streams.maxBytes is 10Gi, and the account allows file storage of 1Gi a stream and 3Gi in all"
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonStreamFailed)
	if strings.Count(c.Message, want) != 1 {
		t.Errorf("got %q, want %q once", c.Message, want)
	}
	x.event("obs", v1alpha1.ReasonStreamFailed, want)
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Streams.MaxBytes = new(resource.MustParse("512Mi")) })
	x.ready(p)
}

// TestConsumersBeyondTheLimitsOfTheAccount: the condition of the Stage names the limit.
func TestConsumersBeyondTheLimitsOfTheAccount(t *testing.T) {
	x := newTenant(t)
	server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `accounts { A {
  jetstream { max_file: 3GiB, max_consumers: 1 }
  users: [{user: u, password: p}]
} }`})
	x.create(&corev1.Secret{ObjectMeta: x.forServer("nats-user", server.URL()), StringData: map[string]string{"username": "u", "password": "p"}})
	p := x.pipeline()
	p.Spec.Streams.MaxBytes = new(resource.MustParse("1Mi"))
	p.Spec.NATS = &v1alpha1.NATSSpec{
		URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}, CredentialsType: v1alpha1.CredentialsPassword,
	}
	x.create(p)
	x.condition(p, v1alpha1.ConditionStagesReady, metav1.ConditionFalse, v1alpha1.ReasonStagesNotReady)
	c := x.condition(x.stage("obs-enrich"), v1alpha1.ConditionConsumersReady, metav1.ConditionFalse, v1alpha1.ReasonConsumerFailed)
	if want := "the account allows 1 consumers in a stream"; !strings.Contains(c.Message, want) {
		t.Errorf("got %q, want %q", c.Message, want)
	}
}

// TestStreamsBeyondTheLimitsOfATier: where the account has limits for each number of replicas, those count.
func TestStreamsBeyondTheLimitsOfATier(t *testing.T) {
	x := newTenant(t)
	a := newAccount(t)
	a.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{}
	a.claims.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {
		MemoryStorage: -1, DiskStorage: 3 << 30, Streams: -1, Consumer: -1, DiskMaxStreamBytes: 1 << 30,
	}}
	dir := t.TempDir()
	a.config(t, filepath.Join(dir, "accounts.conf"))
	server := harness.RunEmbeddedNATS(t, natsserver.Options{Dir: dir, Config: "include accounts.conf"})
	x.create(&corev1.Secret{ObjectMeta: x.forServer("nats-user", server.URL()), Data: map[string][]byte{"user.creds": a.user(t).creds}})
	p := x.small()
	p.Spec.Streams.MaxBytes = new(resource.MustParse("2Gi"))
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}}
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonStreamFailed)
	if want := "spec.streams.maxBytes is 2Gi, and the account allows file storage of 1Gi a stream and 3Gi in all"; !strings.Contains(c.Message, want) {
		t.Errorf("got %q, want %q", c.Message, want)
	}
}
