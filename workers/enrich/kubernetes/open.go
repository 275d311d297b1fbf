package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"millrace.dev/millrace/workers/enrich"
)

// Choice says where the Kubernetes context comes from. The first that is set decides.
type Choice struct {
	// Snapshot is the path of a snapshot file.
	Snapshot string
	// Kubeconfig is the path of a kubeconfig file, whose current context is used.
	Kubeconfig string
	// Environment looks at where the process runs: the file that $KUBECONFIG names, or else
	// the service account of its pod.
	Environment bool
}

// Open returns what enrich.NewFactory takes. It opens no source, and no error, when the
// process has neither a cluster nor a snapshot.
func (c Choice) Open(context.Context) (enrich.Source, error) {
	if c.Snapshot != "" {
		return opened(LoadSnapshot(c.Snapshot))
	}
	cfg, err := c.config()
	if cfg == nil || err != nil {
		return nil, err
	}
	return opened(NewInformers(cfg, Options{}))
}

// config returns how to reach the cluster; nil without one.
func (c Choice) config() (*rest.Config, error) {
	path := c.Kubeconfig
	if path == "" && c.Environment {
		path = os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	}
	if path != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
		}
		return cfg, nil
	}
	if !c.Environment {
		return nil, nil
	}
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("service account of the pod: %w", err)
	}
	return cfg, nil
}

// opened turns a nil pointer with an error into a nil interface.
func opened[S enrich.Source](source S, err error) (enrich.Source, error) {
	if err != nil {
		return nil, err
	}
	return source, nil
}
