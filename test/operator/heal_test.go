package operator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

func TestEditedConsumerIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	raw, durable := x.stream("raw"), x.durable("validate")
	before := x.consumer(raw, durable)
	c := before.Config
	c.MaxAckPending, c.AckWait, c.InactiveThreshold = 1, time.Second, time.Hour
	if _, err := x.js.UpdateConsumer(t.Context(), raw, c); err != nil {
		t.Fatal(err)
	}
	x.heals("edited consumer", func() error {
		got := x.consumer(raw, durable)
		if got.Config.MaxAckPending != before.Config.MaxAckPending || got.Config.AckWait != before.Config.AckWait || got.Config.InactiveThreshold != 0 {
			return fmt.Errorf("got %d pending, %s, inactive after %s", got.Config.MaxAckPending, got.Config.AckWait, got.Config.InactiveThreshold)
		}
		if !got.Created.Equal(before.Created) {
			t.Fatal("it was made again and lost its position")
		}
		return nil
	})
	x.event("obs-validate", v1alpha1.ReasonRepaired, "max_ack_pending: 1 -> ")
	x.ready(p)
}

func TestEditedBucketIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	kv, err := x.js.KeyValue(t.Context(), strings.TrimPrefix(x.leases(), "KV_"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "mine", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	c := x.streamConfig(x.leases())
	c.MaxMsgsPerSubject, c.MaxAge = 5, time.Hour
	if _, err := x.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	x.heals("edited bucket", func() error {
		if c := x.streamConfig(x.leases()); c.MaxMsgsPerSubject != 1 || c.MaxAge != 0 {
			return fmt.Errorf("got history %d, age %s", c.MaxMsgsPerSubject, c.MaxAge)
		}
		return nil
	})
	if _, err := kv.Get(t.Context(), "mine"); err != nil {
		t.Errorf("a lease was lost: %v", err)
	}
	x.event("obs", v1alpha1.ReasonRepaired, "max_msgs_per_subject: 5 -> 1")
	x.ready(p)
}

// TestEditedConfigMapIsRepaired: the API refuses to edit the content; what can be edited is set
// back, and one that was made anew with another content does not stay.
func TestEditedConfigMapIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	want := x.configMaps("validate")[0]
	live := func() *corev1.ConfigMap { return &corev1.ConfigMap{ObjectMeta: x.named(want.Name)} }
	check := func(got *corev1.ConfigMap) error {
		if got.Data["stage.json"] != want.Data["stage.json"] || len(got.OwnerReferences) != 1 ||
			got.Labels[v1alpha1.LabelStage] != "validate" || got.Labels["app.kubernetes.io/managed-by"] != "millrace" {
			return fmt.Errorf("got labels %v, owners %v, %d bytes", got.Labels, got.OwnerReferences, len(got.Data["stage.json"]))
		}
		return nil
	}
	whole := func() error {
		got := live()
		if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
			return err
		}
		return check(got)
	}
	for name, change := range map[string]func(*corev1.ConfigMap){
		"label":   func(c *corev1.ConfigMap) { c.Labels[v1alpha1.LabelStage] = "another" },
		"manager": func(c *corev1.ConfigMap) { delete(c.Labels, "app.kubernetes.io/managed-by") },
		"owner":   func(c *corev1.ConfigMap) { c.OwnerReferences = nil },
	} {
		edited := live()
		edit(x, edited, change)
		if check(edited) == nil {
			t.Errorf("%s: the edit did nothing", name)
		}
		x.heals("edited ConfigMap, "+name, whole)
	}
	other := want.DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: x.ns, Name: want.Name, Labels: want.Labels, OwnerReferences: want.OwnerReferences}
	other.Data = map[string]string{"stage.json": "{}"}
	x.delete(live())
	if err := x.client.Create(t.Context(), other); err == nil { // else the operator was faster
		x.heals("swapped ConfigMap", whole)
	}
	x.ready(x.stage("obs-validate"), p)
}

// TestServerWithoutItsStoreHeals: the disk of the server is new. Everything is made again, and
// the Events say that what was stored is gone.
func TestServerWithoutItsStoreHeals(t *testing.T) {
	x := newTenant(t)
	dir := t.TempDir()
	server := harness.StartNATS(t, natsserver.Options{Dir: dir})
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL()}
	x.start(p)
	server.Kill9()
	if err := os.RemoveAll(server.StoreDir()); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	js := harness.JetStream(t, server)
	x.heals("store of the server wiped", func() error {
		_, err := js.Consumer(t.Context(), x.stream("raw"), x.durable("validate"))
		return err
	})
	x.event("obs", v1alpha1.ReasonRepaired, "made again, without the messages they held, streams "+x.stream("raw"))
	x.event("obs-validate", v1alpha1.ReasonRepaired, x.durable("validate"))
	x.ready(x.stage("obs-validate"), p)
}

// TestChangedCredentials: the server revokes the user that the pipeline has. The condition says
// so without showing the secret, and a new content of the Secret heals.
func TestChangedCredentials(t *testing.T) {
	x := newTenant(t)
	a := newAccount(t)
	first, second := a.user(t), a.user(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "accounts.conf")
	a.config(t, conf)
	server := harness.StartNATS(t, natsserver.Options{Dir: dir, Config: "include accounts.conf"})
	secret := &corev1.Secret{ObjectMeta: x.forServer("nats-user", server.URL()), Data: map[string][]byte{"user.creds": first.creds}}
	x.create(secret)
	p := x.small()
	p.Spec.NATS = &v1alpha1.NATSSpec{URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user"}}
	x.start(p)

	a.claims.Revoke(first.public)
	a.config(t, conf)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := x.saying(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonNATSUnreachable, "authorization")
	if strings.Contains(c.Message, "SUA") || strings.Contains(c.Message, "eyJ") {
		t.Errorf("the condition shows the secret: %q", c.Message)
	}
	edit(x, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"user.creds": second.creds} })
	started := time.Now()
	x.ready(x.stage("obs-validate"), p)
	t.Logf("heal time, credentials changed: %.2f s", time.Since(started).Seconds())
}

// account is one of a server that knows its users by what the account's key has signed.
type account struct {
	operator, pair nkeys.KeyPair
	claims         *jwt.AccountClaims
	// system is the account that such a server needs for itself.
	system *jwt.AccountClaims
}

// user is one of an account.
type user struct {
	public string
	creds  []byte
}

func newAccount(t *testing.T) *account {
	t.Helper()
	operator, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	system, _ := newClaims(t)
	claims, pair := newClaims(t)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	return &account{operator: operator, pair: pair, claims: claims, system: system}
}

func newClaims(t *testing.T) (*jwt.AccountClaims, nkeys.KeyPair) {
	t.Helper()
	pair, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return jwt.NewAccountClaims(public), pair
}

// config writes the part of the server's configuration that may change.
func (a *account) config(t *testing.T, path string) {
	t.Helper()
	issuer, err := a.operator.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	operator, err := jwt.NewOperatorClaims(issuer).Encode(a.operator)
	if err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n", operator, a.system.Subject)
	for _, claims := range []*jwt.AccountClaims{a.system, a.claims} {
		signed, err := claims.Encode(a.operator)
		if err != nil {
			t.Fatal(err)
		}
		content += fmt.Sprintf("  %s: %s\n", claims.Subject, signed)
	}
	content += "}\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *account) user(t *testing.T) user {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.NewUserClaims(public).Encode(a.pair)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(signed, seed)
	if err != nil {
		t.Fatal(err)
	}
	return user{public: public, creds: creds}
}
