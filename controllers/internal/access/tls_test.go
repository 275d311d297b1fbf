package access_test

import (
	"testing"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// TestTLSOfTheOperatorsServer: spec.nats.tls without url and credentialsSecretRef: the operator takes its own connection, workers get the Secrets mounted.
func TestTLSOfTheOperatorsServer(t *testing.T) {
	for name, tls := range map[string]*v1alpha1.TLSSpec{
		"ca":     {CA: &v1alpha1.CASpec{SecretKeyRef: v1alpha1.SecretKeyRef{Name: "user", Key: "anything"}}},
		"client": {ClientSecretName: "user"},
	} {
		pool := jetstream.NewPool(jetstream.PoolOptions{})
		defer pool.Close()
		reader := &objects{data: map[string]map[string][]byte{"shop/user": {"anything": []byte("x"), "tls.crt": []byte("x"), "tls.key": []byte("x")}}}
		a := access.New(access.Options{Objects: reader, Pool: pool, Default: jetstream.Server{URL: "nats://ours:4222"}})
		nats := &v1alpha1.NATSSpec{TLS: tls}
		if _, err := a.ForStage(t.Context(), "shop", access.Mounts{NATS: nats}); access.Reason(err) != v1alpha1.ReasonCredentialsNotForServer {
			t.Errorf("%s: %d files are mounted into workers, Secrets asked for: %d, error: %v", name, len(access.Files(nats, "")), reader.reads, err)
		}
	}
}
