package cli

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/workers/config"
)

// OpenCluster is the cluster of a kubeconfig (empty = that of KUBECONFIG, or ~/.kube/config), and the namespace of the context. otherwise says
// what to do without a cluster.
func OpenCluster(kubeconfig, context, otherwise string) (objects client.Client, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	found, err := loaded.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the cluster: %w; %s", err, otherwise)
	}
	if namespace, _, err = loaded.Namespace(); err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	if objects, err = client.New(found, client.Options{Scheme: scheme}); err != nil {
		return nil, "", fmt.Errorf("connect to the cluster: %w", err)
	}
	return objects, namespace, nil
}

// Connect connects to the server of --nats-url, else to the one that a Pipeline names; the files of the flags say as whom. flags are those that
// name the server of the operator.
func Connect(pool *jetstream.Pool, nats config.NATS, p *v1alpha1.Pipeline, flags string) (*jetstream.Client, error) {
	server := jetstream.Server{URL: nats.URL, Domain: nats.JetStreamDomain, Files: nats}
	if spec := p.Spec.NATS; spec != nil {
		if server.URL == "" {
			server.URL = spec.URL
		}
		if server.Domain == "" {
			server.Domain = config.Domain(spec.JetStreamDomain)
		}
	}
	if server.URL == "" {
		return nil, fmt.Errorf("pipeline %s/%s names no NATS server, and that of the operator is not known here: give %s", p.Namespace, p.Name, flags)
	}
	server.Files.URL = server.URL
	return pool.Client(server)
}
