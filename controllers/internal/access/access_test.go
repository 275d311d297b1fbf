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
	data map[string]map[string][]byte
	// servers are those that every Secret says it is for.
	servers string
	// pipelines likewise.
	pipelines string
	reads     int
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
	if s.servers != "" {
		object.SetAnnotations(map[string]string{v1alpha1.AnnotationNATSURL: s.servers})
	}
	if s.pipelines != "" {
		object.SetAnnotations(map[string]string{v1alpha1.AnnotationPipelines: s.pipelines})
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
		Objects: &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}, servers: ours.URL()},
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
			a := access.New(access.Options{Objects: &objects{data: test.data, servers: "127.0.0.1:1"}, Pool: jetstream.NewPool(jetstream.PoolOptions{})})
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
	reader := &objects{data: map[string]map[string][]byte{"shop/user": {"username": []byte("operator"), "password": []byte("first")}}, servers: server.URL()}
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
	reader := &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}, servers: server.URL()}
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

func TestASecretIsForTheServersThatItNames(t *testing.T) {
	user := v1alpha1.NATSSpec{CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"}}
	certificate := v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{ClientSecretName: "user"}}
	ca := v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{CA: &v1alpha1.CASpec{SecretKeyRef: v1alpha1.SecretKeyRef{Name: "user"}}}}
	public := v1alpha1.NATSSpec{TLS: &v1alpha1.TLSSpec{CA: &v1alpha1.CASpec{Kind: v1alpha1.CAConfigMap, SecretKeyRef: v1alpha1.SecretKeyRef{Name: "user"}}}}
	tests := map[string]struct {
		nats              v1alpha1.NATSSpec
		url, servers, own string
		refused           bool
	}{
		"it says nothing":         {nats: user, url: "nats://a:4222", refused: true},
		"it names the server":     {nats: user, url: "nats://a:4222", servers: "nats://a:4222"},
		"the scheme is no matter": {nats: user, url: "tls://a", servers: "a:4222"},
		"nor is the case":         {nats: user, url: "nats://Example.com", servers: "nats://EXAMPLE.com:4222"},
		"the port is":             {nats: user, url: "nats://a:4223", servers: "nats://a", refused: true},
		"web sockets have theirs": {nats: user, url: "wss://a", servers: "wss://a:443"},
		"it names another one":    {nats: user, url: "nats://evil:4222", servers: "nats://a:4222", refused: true},
		"not all of them":         {nats: user, url: "nats://a:4222,nats://evil:4222", servers: "nats://a:4222", refused: true},
		"more of them":            {nats: user, url: "nats://b", servers: "nats://a, nats://b"},
		"part of a name":          {nats: user, url: "nats://a", servers: "nats://a.evil:4222", refused: true},
		"IPv6":                    {nats: user, url: "nats://[::1]:4222", servers: "nats://[::1]"},
		"the operator's server":   {nats: user, servers: "nats://ours:4222"},
		"not the operator's":      {nats: user, servers: "nats://a:4222", refused: true},
		"a client certificate":    {nats: certificate, url: "nats://a:4222", refused: true},
		"a CA in a Secret":        {nats: ca, url: "nats://a:4222", refused: true},
		"a CA in a ConfigMap":     {nats: public, url: "nats://a:4222"},
		"a stage's own":           {url: "nats://a:4222", own: "user", refused: true},
		"a stage's own, for it":   {url: "nats://a:4222", servers: "nats://a:4222", own: "user"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret := map[string][]byte{"user.creds": []byte("x"), "tls.crt": []byte("x"), "tls.key": []byte("x"), "ca.crt": []byte("x")}
			for _, allow := range []bool{false, true} {
				pool := jetstream.NewPool(jetstream.PoolOptions{})
				defer pool.Close()
				a := access.New(access.Options{
					Objects: &objects{data: map[string]map[string][]byte{"shop/user": secret, "configmap:shop/user": secret}, servers: test.servers},
					Pool:    pool, Default: jetstream.Server{URL: "nats://ours:4222"}, AllowUnpaired: allow,
				})
				test.nats.URL = test.url
				_, err := forStage(t, a, pipeline(&test.nats), test.own)
				if got, want := access.Reason(err) == v1alpha1.ReasonCredentialsNotForServer, test.refused && !allow; got != want {
					t.Errorf("any Secret %t: got %v, want refused %t", allow, err, want)
				}
			}
		})
	}
}

// TestASecretIsForThePipelinesThatItNames: no worker of another one mounts it, and the message has the command that helps.
func TestASecretIsForThePipelinesThatItNames(t *testing.T) {
	for name, test := range map[string]struct {
		pipelines string
		want      string // how the error ends; empty = there is none
	}{
		"it names the Pipeline":     {"other, obs", ""},
		"it names all":              {"*", ""},
		"it says nothing":           {"", "does not say which Pipelines it is for, and is mounted into no worker of obs: if it is for that one as well, run kubectl annotate -n shop secret db 'millrace.dev/pipelines=obs'"},
		"it names another":          {"observe", "is for Pipelines observe, and is mounted into no worker of obs: if it is for that one as well, run kubectl annotate --overwrite -n shop secret db 'millrace.dev/pipelines=observe,obs'"},
		"it names a part of a name": {"ob", "run kubectl annotate --overwrite -n shop secret db 'millrace.dev/pipelines=ob,obs'"},
	} {
		for _, allow := range []bool{false, true} {
			a := access.New(access.Options{
				Objects:       &objects{data: map[string]map[string][]byte{"shop/db": {"url": []byte("x")}}, pipelines: test.pipelines},
				AllowUnpaired: allow,
			})
			m := access.Mounts{Secrets: []string{"db"}, Pipeline: "obs"}
			for range 2 { // the second time by what is known
				err := a.Check(t.Context(), "shop", m)
				switch {
				case test.want == "" || allow:
					if err != nil {
						t.Errorf("%s, any Secret %t: %v", name, allow, err)
					}
				case err == nil || !strings.HasSuffix(err.Error(), test.want) || access.Reason(err) != v1alpha1.ReasonSecretNotForPipeline:
					t.Errorf("%s: got %v", name, err)
				}
			}
		}
	}
	a := access.New(access.Options{Objects: &objects{}})
	if err := a.Check(t.Context(), "shop", access.Mounts{Secrets: []string{"db"}, Pipeline: "obs"}); access.Reason(err) != v1alpha1.ReasonCredentialsNotFound {
		t.Errorf("a Secret that is not there: %v", err)
	}
}

// TestTheCommandIsOneWordForAShell: a person copies it, and who wrote the Pipeline may be an enemy.
func TestTheCommandIsOneWordForAShell(t *testing.T) {
	a := access.New(access.Options{Objects: &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte("x")}}}})
	_, err := a.Client(t.Context(), pipeline(&v1alpha1.NATSSpec{
		URL: "nats://a$(rm)';:4222", CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"},
	}))
	if want := `run kubectl annotate -n shop secret user 'millrace.dev/nats-url=nats://a$(rm)'\'';:4222'`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s at the end", err, want)
	}
}

// TestAnAnnotationCountsAtOnce: what was read for one server is not taken for another, and a new annotation is not half a minute late.
func TestAnAnnotationCountsAtOnce(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	reader := &objects{data: map[string]map[string][]byte{"shop/user": {"user.creds": []byte(credentials)}}, servers: server.URL()}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	a := access.New(access.Options{Objects: reader, Pool: pool})
	of := func(url string) *v1alpha1.Pipeline {
		return pipeline(&v1alpha1.NATSSpec{URL: url, CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "user"}})
	}
	if _, err := forStage(t, a, of(server.URL()), "user"); err != nil {
		t.Fatal(err)
	}
	if _, err := forStage(t, a, of("nats://127.0.0.1:1"), "user"); access.Reason(err) != v1alpha1.ReasonCredentialsNotForServer {
		t.Errorf("got %v, want a refusal", err)
	}
	reader.servers += ",nats://127.0.0.1:1"
	if _, err := forStage(t, a, of("nats://127.0.0.1:1"), "user"); !jetstream.IsUnreachable(err) {
		t.Errorf("got %v, want an attempt", err)
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

// forStage connects for a stage of a pipeline.
func forStage(t *testing.T, a *access.Access, p *v1alpha1.Pipeline, secret string) (*jetstream.Client, error) {
	t.Helper()
	return a.ForStage(t.Context(), p.Namespace, access.Mounts{NATS: p.Spec.NATS, UserSecret: secret, Pipeline: p.Name})
}
