package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Config is a copy of the administrator's client configuration
// (system:masters, not throttled).
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client of the administrator.
func (c *ControlPlane) Client() kubernetes.Interface { return c.client }

// Kubeconfig is the path of the administrator's kubeconfig file.
func (c *ControlPlane) Kubeconfig() string { return c.kubeconfig }

// Dir holds state, certificates and kubeconfig files.
func (c *ControlPlane) Dir() string { return c.dir }

// LogDir holds one log file for each component.
func (c *ControlPlane) LogDir() string { return filepath.Join(c.dir, "logs") }

// Logs returns the last n bytes of each component's log, with its path.
func (c *ControlPlane) Logs(n int64) string {
	var b strings.Builder
	for _, one := range c.components {
		p := one.current()
		fmt.Fprintf(&b, "== %s\n%s\n", p.LogFile(), p.Tail(n))
	}
	return b.String()
}

// FrontProxyClient returns the PEM certificate and key with which the API
// server calls aggregated API servers. A test that calls such a server in
// the API server's place presents it.
func (c *ControlPlane) FrontProxyClient() (cert, key []byte, err error) {
	if cert, err = os.ReadFile(filepath.Join(c.dir, "front-proxy.crt")); err != nil {
		return nil, nil, err
	}
	key, err = os.ReadFile(filepath.Join(c.dir, "front-proxy.key"))
	return cert, key, err
}

// ServingCertificate issues a PEM serving certificate for names and
// addresses, with the CA bundle to trust it: for webhooks and aggregated API
// servers under test.
func (c *ControlPlane) ServingCertificate(names ...string) (cert, key, ca []byte, err error) {
	pair, err := c.ca.Server(names...)
	return pair.Cert, pair.Key, c.ca.PEM, err
}

// AddUser returns a client configuration of a new user with a client
// certificate. RBAC grants it nothing by itself; the group system:masters
// may do everything.
func (c *ControlPlane) AddUser(name string, groups ...string) (*rest.Config, error) {
	pair, err := c.ca.Client(name, groups...)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.QPS = -1
	config.CertData, config.KeyData = pair.Cert, pair.Key
	return config, nil
}

// ServiceAccountConfig returns a client configuration with a token of an
// existing service account, valid for one hour: what its pods may do, a test
// with it may do.
func (c *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of service account %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.QPS = -1
	config.BearerToken = token.Status.Token
	return config, nil
}

// InstallCRDs creates or updates the CustomResourceDefinitions in the given
// files or folders and waits until the API server serves them.
func (c *ControlPlane) InstallCRDs(paths ...string) error {
	_, err := envtest.InstallCRDs(c.Config(), envtest.CRDInstallOptions{
		Paths: paths, ErrorIfPathMissing: true, MaxTime: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	return nil
}

// WriteKubeconfig writes a kubeconfig file with one context. The file embeds
// certificates; a BearerTokenFile stays a reference, read again by clients.
func WriteKubeconfig(path string, config *rest.Config, namespace string) error {
	const name = "millrace-test"
	file := api.NewConfig()
	file.Clusters[name] = &api.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos[name] = &api.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
		Token: config.BearerToken, TokenFile: config.BearerTokenFile,
	}
	file.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: namespace}
	file.CurrentContext = name
	return clientcmd.WriteToFile(*file, path)
}

// waitReady waits for /readyz, which includes the bootstrap RBAC roles.
func (c *ControlPlane) waitReady(ctx context.Context) error {
	return c.poll(ctx, "kube-apiserver ready", func(ctx context.Context) error {
		if err := c.client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return err
		}
		_, err := c.client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// waitServiceAccount waits until pods are admitted to the default namespace,
// which also shows that the controllers run.
func (c *ControlPlane) waitServiceAccount(ctx context.Context) error {
	return c.poll(ctx, "default service account", func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (c *ControlPlane) poll(ctx context.Context, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if dead := c.died(); dead != nil {
			return errors.Join(dead, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(30 * time.Millisecond):
		}
	}
}
