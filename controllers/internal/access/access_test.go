package access_test

import (
	"context"
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

// secrets counts how often the API server is asked.
type secrets struct {
	client.Reader
	data  map[string]map[string][]byte
	reads int
}

func (s *secrets) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	s.reads++
	data, ok := s.data[key.String()]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	object.(*corev1.Secret).Data = data
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
		Secrets: &secrets{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}},
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

func TestSecretsThatCannotBeUsed(t *testing.T) {
	tests := map[string]struct {
		data map[string]map[string][]byte
		ref  v1alpha1.SecretKeyRef
		want string
	}{
		"no secret": {nil, v1alpha1.SecretKeyRef{Name: "user"}, "Secret user does not exist in namespace shop"},
		"no key":    {map[string]map[string][]byte{"shop/user": {"x": []byte("y")}}, v1alpha1.SecretKeyRef{Name: "user"}, "has no key user.creds"},
		"other key": {map[string]map[string][]byte{"shop/user": {"user.creds": []byte("y")}}, v1alpha1.SecretKeyRef{Name: "user", Key: "k"}, "has no key k"},
		"elsewhere": {map[string]map[string][]byte{"other/user": {"user.creds": []byte("y")}}, v1alpha1.SecretKeyRef{Name: "user"}, "does not exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := access.New(access.Options{Secrets: &secrets{data: test.data}, Pool: jetstream.NewPool(jetstream.PoolOptions{})})
			_, err := a.Client(t.Context(), pipeline(&v1alpha1.NATSSpec{URL: "nats://127.0.0.1:1", CredentialsSecretRef: &test.ref}))
			if !access.IsCredentials(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a CredentialsError with %q", err, test.want)
			}
		})
	}
}

func TestASecretIsReadOnceForAWhile(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	reader := &secrets{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}}
	now := time.Now()
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	defer pool.Close()
	a := access.New(access.Options{Secrets: reader, Pool: pool, KeepFor: time.Minute, Now: func() time.Time { return now }})
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
