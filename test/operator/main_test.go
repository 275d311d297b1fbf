package operator_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/operator"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
	"millrace.dev/millrace/test/harness/process"
)

const (
	workerImage = "millrace/worker:test"
	// fresh is shorter than in a real cluster, so that tests need not wait for numbers.
	fresh = time.Second
	// resync is longer than any test: what heals does so because something wakes the operator.
	resync = time.Hour
	// cleanupTimeout likewise.
	cleanupTimeout = 4 * time.Second
	// scaleDownWindow likewise.
	scaleDownWindow = 3 * time.Second
	// patience is how long a test waits for what must come.
	patience = 60 * time.Second
)

// world is what all tests share.
type world struct {
	plane  *kube.ControlPlane
	client client.Client
	nats   *natsserver.Embedded
	js     natsjs.JetStream
	// config has the rights that the operator has in a cluster.
	config *rest.Config
	// webhookPort is where the operator answers the API server's questions.
	webhookPort int
	// metrics is the address of its metrics, and console that of its console.
	metrics, console string
	// proxySecret is a file with the secret of the proxy that may name users.
	proxySecret string
	// writes are the writing requests of the operator, to Kubernetes and to NATS.
	writes *recorder
}

// shared is set once, by TestMain.
var shared *world

func TestMain(m *testing.M) {
	if os.Getenv(fakeWorker) != "" {
		os.Exit(runFakeWorker(os.Args[1:]))
	}
	flag.Parse()
	if err := moreAtOnce(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(run(m))
}

// moreAtOnce has more tests run at the same time than there are processors, unless -parallel says
// otherwise: most of a test is waiting.
func moreAtOnce() error {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(2*goruntime.GOMAXPROCS(0)))
}

func run(m *testing.M) (code int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, stop, err := startWorld(ctx)
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the test's world:", err)
		return 1
	}
	shared = w
	done := make(chan error, 1)
	operatorContext, endOperator := context.WithCancel(ctx)
	go func() { done <- w.runOperator(operatorContext, nil) }()
	code = m.Run()
	endOperator()
	if err := <-done; err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		return 1
	}
	return code
}

func startWorld(ctx context.Context) (w *world, stop func(), err error) {
	var stops []func()
	stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	w = &world{writes: &recorder{}}
	if w.plane, err = kube.Start(ctx, kube.Options{}); err != nil {
		return nil, stop, err
	}
	stops = append(stops, w.plane.Stop)
	agent, err := node.Start(ctx, node.Options{
		Config: w.plane.Config(), Env: []string{fakeWorker + "=1"},
		Images: map[string][]string{"millrace/worker": {os.Args[0]}},
	})
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, agent.Stop)
	if w.nats, err = natsserver.StartEmbedded(ctx, natsserver.Options{}); err != nil {
		return nil, stop, err
	}
	stops = append(stops, w.nats.Stop)
	nc, err := w.nats.Connect()
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, nc.Close)
	if _, err = nc.Subscribe("$JS.API.>", func(m *nats.Msg) { w.writes.nats(m.Subject) }); err != nil {
		return nil, stop, err
	}
	if w.js, err = natsjs.New(nc); err != nil {
		return nil, stop, err
	}
	if err = w.plane.InstallCRDs(filepath.Join("..", "..", "config", "crd", "bases")); err != nil {
		return nil, stop, err
	}
	scheme := runtime.NewScheme()
	if err = clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, stop, err
	}
	if err = v1alpha1.AddToScheme(scheme); err != nil {
		return nil, stop, err
	}
	if w.client, err = client.New(w.plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, stop, err
	}
	if w.webhookPort, err = process.FreePort(); err != nil {
		return nil, stop, err
	}
	for _, address := range []*string{&w.metrics, &w.console} {
		port, err := process.FreePort()
		if err != nil {
			return nil, stop, err
		}
		*address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	w.proxySecret = filepath.Join(w.plane.Dir(), "proxy-secret")
	if err = os.WriteFile(w.proxySecret, []byte(proxySecret+"\n"), 0o600); err != nil {
		return nil, stop, err
	}
	w.config, err = w.operatorConfig(ctx)
	return w, stop, err
}

// runOperator runs the operator with the rights that it has in a cluster. change changes its options.
func (w *world) runOperator(ctx context.Context, change func(*operator.Options)) error {
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	logger := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctrl.SetLogger(logger)
	options := operator.DefaultOptions()
	options.NATS.URL, options.NATSMonitorURL = w.nats.URL(), w.nats.MonitorURL()
	options.WorkerImage = workerImage
	options.WorkerServiceAccount = "millrace-worker"
	options.MetricsAddress, options.ProbeAddress = w.metrics, "0"
	options.CleanupTimeout, options.Resync, options.StatusInterval = cleanupTimeout, resync, fresh
	options.ScaleDownWindow = scaleDownWindow
	options.Webhook = operator.Webhook{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(w.webhookPort)), Service: "default/" + webhook, Configuration: webhook,
	}
	options.Console = operator.Console{
		Address: w.console, Service: consoleService.String(), Hosts: []string{"console.example.com"}, ProxySecretFile: w.proxySecret,
	}
	options.SeveralInProcess = true
	if change != nil {
		change(&options)
	}
	return operator.Run(ctx, w.config, options, logger)
}

func (w *world) operatorConfig(ctx context.Context) (*rest.Config, error) {
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		return nil, err
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(data, &role); err != nil {
		return nil, err
	}
	subject := rbacv1.Subject{Kind: "ServiceAccount", Namespace: operatorAccount.Namespace, Name: operatorAccount.Name}
	for _, object := range append([]client.Object{&role, &corev1.ServiceAccount{ObjectMeta: operatorAccount}, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "millrace-operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{subject},
	}}, webhookRights(subject)...) {
		if err := w.client.Create(ctx, object); err != nil {
			return nil, err
		}
	}
	if err := w.installPolicy(ctx); err != nil {
		return nil, err
	}
	if err := w.installMetricsRights(ctx); err != nil {
		return nil, err
	}
	if err := w.installConsoleRights(ctx); err != nil {
		return nil, err
	}
	config, err := w.plane.ServiceAccountConfig(ctx, operatorAccount.Namespace, operatorAccount.Name)
	if err != nil {
		return nil, err
	}
	config.Wrap(w.writes.wrap)
	return config, nil
}
