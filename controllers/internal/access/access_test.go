package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// objects are Secrets and ConfigMaps ("configmap:" before the name); it counts how often the API
// server is asked.
type objects struct {
	client.Reader
	data  map[string]map[string][]byte
	reads int
}

func (s *objects) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	s.reads++
	name := key.String()
	if _, ok := object.(*corev1.ConfigMap); ok {
		name = "configmap:" + name
	}
	data, ok := s.data[name]
	if _, forbidden := data["forbidden"]; forbidden {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, errors.New("no rule allows it"))
	}
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	switch o := object.(type) {
	case *corev1.Secret:
		o.Data = data
	case *corev1.ConfigMap:
		o.Data = map[string]string{}
		for k, v := range data {
			o.Data[k] = string(v)
		}
	}
	return nil
}

func pipeline(nats *v1alpha1.NATSSpec) *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs"}, Spec: v1alpha1.PipelineSpec{NATS: nats}}
}

func TestServerOfAPipeline(t *testing.T) {
	ours := harness.RunEmbeddedNATS(t, natsserver.Options{})
	theirs := harness.RunEmbeddedNATS(t, natsserver.Options{})
	tests := map[string]struct {
		nats *v1alpha1.NATSSpec
		want string
	}{
		"default":     {nil, ours.URL()},
		"empty":       {&v1alpha1.NATSSpec{}, ours.URL()},
		"its own":     {&v1alpha1.NATSSpec{URL: theirs.URL()}, theirs.URL()},
		"credentials": {&v1alpha1.NATSSpec{CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"}}, ours.URL()},
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	a := access.New(access.Options{
		Objects: &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}},
		Pool:    pool, Default: jetstream.Server{URL: ours.URL()},
	})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := a.Client(t.Context(), pipeline(test.nats))
			if err != nil {
				t.Fatal(err)
			}
			if c.Server() != test.want {
				t.Errorf("got %s, want %s", c.Server(), test.want)
			}
		})
	}
}

func TestObjectsThatCannotBeUsed(t *testing.T) {
	type data = map[string]map[string][]byte
	of := func(key, value string) data { return data{"shop/user": {key: []byte(value)}} }
	ref := func(key string) *v1alpha1.SecretKeyRef { return &v1alpha1.SecretKeyRef{Name: "user", Key: key} }
	tests := map[string]struct {
		data data
		nats v1alpha1.NATSSpec
		want string
	}{
		"no secret":   {nil, v1alpha1.NATSSpec{CredentialsSecretRef: ref("")}, "spec.nats.credentialsSecretRef: Secret user does not exist in namespace shop: create it"},
		"no right":    {of("forbidden", ""), v1alpha1.NATSSpec{CredentialsSecretRef: ref("")}, "spec.nats.credentialsSecretRef: the operator may not read Secret user in namespace shop"},
		"no key":      {of("x", "y"), v1alpha1.NATSSpec{CredentialsSecretRef: ref("")}, "has no key user.creds: add the content of a .creds file under it"},
		"other key":   {of("user.creds", "y"), v1alpha1.NATSSpec{CredentialsSecretRef: ref("k")}, "has no key k"},
		"elsewhere":   {data{"other/user": {"user.creds": []byte("y")}}, v1alpha1.NATSSpec{CredentialsSecretRef: ref("")}, "does not exist"},
		"no creds":    {of("user.creds", "y"), v1alpha1.NATSSpec{CredentialsSecretRef: ref("")}, "spec.nats: the .creds file holds no user JWT"},
		"no seed":     {of("user.nk", "y"), v1alpha1.NATSSpec{CredentialsSecretRef: ref(""), CredentialsType: v1alpha1.CredentialsNKey}, "spec.nats: the nkey is no seed"},
		"no password": {of("username", "y"), v1alpha1.NATSSpec{CredentialsSecretRef: ref(""), CredentialsType: v1alpha1.CredentialsPassword}, "has no key password: add its password under it"},
		"no CA":       {of("ca.crt", "y"), v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{CA: &v1alpha1.CASpec{SecretKeyRef: *ref("")}}}, "spec.nats: the CA holds no certificate in PEM"},
		"no config map": {
			of("ca.crt", "y"),
			v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{CA: &v1alpha1.CASpec{Kind: v1alpha1.CAConfigMap, SecretKeyRef: *ref("")}}},
			"spec.nats.tls.ca: ConfigMap user does not exist in namespace shop",
		},
		"no client certificate": {of("tls.crt", "y"), v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{ClientSecretName: "user"}}, "spec.nats.tls.clientSecretName: Secret user has no key tls.key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := access.New(access.Options{Objects: &objects{data: test.data}, Pool: jetstream.NewPool(jetstream.PoolOptions{})})
			test.nats.URL = "nats://127.0.0.1:1"
			_, err := a.Client(t.Context(), pipeline(&test.nats))
			if !access.IsCredentials(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a CredentialsError with %q", err, test.want)
			}
		})
	}
}

// TestReplacedCredentialsAreReadAtOnce: the server takes the new password only, and what the operator
// knows is not half a minute old yet.
func TestReplacedCredentialsAreReadAtOnce(t *testing.T) {
	users := func(password string) string {
		return `authorization {users = [{user: operator, password: "` + password + `"}]}`
	}
	server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: users("first")})
	reader := &objects{data: map[string]map[string][]byte{"shop/user": {"username": []byte("operator"), "password": []byte("first")}}}
	now := time.Now()
	pool := jetstream.NewPool(jetstream.PoolOptions{RetryAfter: time.Millisecond})
	t.Cleanup(pool.Close)
	a := access.New(access.Options{Objects: reader, Pool: pool, Now: func() time.Time { return now }})
	p := pipeline(&v1alpha1.NATSSpec{
		URL: server.URL(), CredentialsType: v1alpha1.CredentialsPassword, CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"},
	})
	before, err := a.Client(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	reader.data["shop/user"]["password"] = []byte("second")
	if err := server.Reload(users("second")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(3 * time.Second)
	harness.Eventually(t, 10*time.Second, func() error {
		after, err := a.Client(t.Context(), p)
		if err == nil && after == before {
			return errors.New("the connection that the server ended is given out again")
		}
		return err
	})
}

func TestASecretIsReadOnceForAWhile(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	reader := &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}}
	now := time.Now()
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	defer pool.Close()
	a := access.New(access.Options{Objects: reader, Pool: pool, KeepFor: time.Minute, Now: func() time.Time { return now }})
	p := pipeline(&v1alpha1.NATSSpec{URL: server.URL(), CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"}})
	for range 3 {
		if _, err := a.Client(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if reader.reads != 1 {
		t.Errorf("got %d reads, want 1", reader.reads)
	}
	now = now.Add(time.Minute)
	if _, err := a.Client(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if reader.reads != 2 {
		t.Errorf("after the time to keep it: got %d reads, want 2", reader.reads)
	}
}

// credentials are well formed and of no account: a server without accounts lets them in.
const credentials = `-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.AA
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
SUAFPUVK5N7WNJE6UOKZSH2GNNHETUMRNH6M7KYRGN3UL5WZHJMVR2VLY4
------END USER NKEY SEED------
`
