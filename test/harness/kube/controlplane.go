package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"millrace.dev/millrace/test/harness/pki"
	"millrace.dev/millrace/test/harness/process"
)

// startTimeout bounds the wait for each component; a busy machine of two
// cores has needed 15 s.
const startTimeout = 2 * time.Minute

// Options of a control plane. The zero value is good.
type Options struct {
	// APIServerOnly leaves out kube-controller-manager and kube-scheduler
	// and the ServiceAccount admission plugin: about 3 s to start, enough
	// for CRDs, CEL rules, RBAC and controllers that watch only their own
	// objects. No garbage collection, no namespace deletion, no pods.
	APIServerOnly bool

	// HPASyncPeriod is how often the autoscaler looks. Default 2 s (15 s in
	// a real cluster).
	HPASyncPeriod time.Duration
	// HPADownscaleStabilization is the default window before it scales
	// down. Default 5 s (300 s in a real cluster).
	HPADownscaleStabilization time.Duration

	// Extra flags, --name=value, replace defaults of the same name.
	APIServerFlags         []string
	ControllerManagerFlags []string
	SchedulerFlags         []string

	// Dir holds state, certificates and logs. Default: a new folder below
	// the system's temporary folder, removed by Stop.
	Dir string
}

// ControlPlane is a running control plane. Its methods may be called from any
// goroutine.
type ControlPlane struct {
	dir        string
	ownsDir    bool
	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	ca         *pki.Authority
	frontProxy *pki.Authority
	components []*component
}

// Start starts the components and returns when they serve. On an error
// nothing keeps running; ErrMissingBinary means that `make controlplane` has
// not run.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if options.HPASyncPeriod == 0 {
		options.HPASyncPeriod = 2 * time.Second
	}
	if options.HPADownscaleStabilization == 0 {
		options.HPADownscaleStabilization = 5 * time.Second
	}
	c := &ControlPlane{dir: options.Dir}
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "millrace-controlplane-")
		if err != nil {
			return nil, err
		}
		c.dir, c.ownsDir = dir, true
	}
	if err := c.start(ctx, options); err != nil {
		tails := c.Logs(2000)
		c.Stop()
		return nil, fmt.Errorf("start control plane: %w\n%s", err, tails)
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, options Options) error {
	if err := os.MkdirAll(c.LogDir(), 0o700); err != nil {
		return err
	}
	var err error
	if c.ca, c.frontProxy, err = writeCertificates(c.dir); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, options); err != nil {
		return err
	}
	if options.APIServerOnly {
		return nil
	}
	return c.startControllers(ctx, options)
}

func (c *ControlPlane) startAPIServer(ctx context.Context, options Options) error {
	ports, err := process.FreePorts(3)
	if err != nil {
		return err
	}
	etcdURL := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	if err := c.run("etcd", etcdFlags(c.dir, etcdURL, peerURL)); err != nil {
		return err
	}
	// The API server waits for etcd by itself.
	flags := apiServerFlags(c.dir, etcdURL, ports[2], options.APIServerOnly)
	if err := c.run("kube-apiserver", mergeFlags(flags, options.APIServerFlags)); err != nil {
		return err
	}
	base := &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.PEM},
		QPS:             -1, // tests are not throttled
	}
	c.config = base
	admin, err := c.AddUser("millrace-admin", "system:masters")
	if err != nil {
		return err
	}
	c.config = admin
	c.kubeconfig = filepath.Join(c.dir, "admin.kubeconfig")
	if err := WriteKubeconfig(c.kubeconfig, admin, "default"); err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(admin); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

func (c *ControlPlane) startControllers(ctx context.Context, options Options) error {
	kcm, err := c.componentKubeconfig("kube-controller-manager")
	if err != nil {
		return err
	}
	scheduler, err := c.componentKubeconfig("kube-scheduler")
	if err != nil {
		return err
	}
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	flags := schedulerFlags(c.dir, scheduler, port)
	if err := c.run("kube-scheduler", mergeFlags(flags, options.SchedulerFlags)); err != nil {
		return err
	}
	flags = controllerManagerFlags(c.dir, kcm, options.HPASyncPeriod, options.HPADownscaleStabilization)
	if err := c.run("kube-controller-manager", mergeFlags(flags, options.ControllerManagerFlags)); err != nil {
		return err
	}
	return c.waitServiceAccount(ctx)
}

func (c *ControlPlane) componentKubeconfig(component string) (string, error) {
	config, err := c.AddUser("system:" + component)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.dir, component+".kubeconfig")
	return path, WriteKubeconfig(path, config, "default")
}
