package operator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"millrace.dev/millrace/controllers/console"
	"millrace.dev/millrace/controllers/console/identity"
	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/serving"
	"millrace.dev/millrace/controllers/view"
)

// Console says how the console is served.
type Console struct {
	// Address to listen on, host:port; empty = no console.
	Address string
	// ReadOnly refuses replays to everybody.
	ReadOnly bool
	// Service (namespace/name) in front of it.
	Service string
	// Secret holds the certificate, in the namespace of the Service; empty = the name of the Service. SecretGiven says that somebody else keeps it.
	Secret      string
	SecretGiven bool
	// Hosts are names that the console is reached by, besides those of the Service and localhost.
	Hosts []string
	// ProxyAddresses and ProxySecretFile say which proxy may name users.
	ProxyAddresses  []string
	ProxySecretFile string
}

func (c Console) check() error {
	if c.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("--console-bind-address is %q: use host:port, such as :8642", c.Address)
	}
	if _, err := c.service(); err != nil {
		return err
	}
	for _, host := range c.Hosts {
		if host == "" || strings.ContainsAny(host, ":/*@ ") {
			return fmt.Errorf("--console-hosts has %q: use names or IPv4 addresses without scheme and port, such as console.example.com", host)
		}
	}
	addresses, err := identity.ParseAddresses(c.ProxyAddresses)
	if err != nil {
		return fmt.Errorf("--console-proxy-addresses: %w", err)
	}
	for _, a := range addresses { // a port-forward comes from a loopback address
		if c.ProxySecretFile == "" && (a.Bits() == 0 || a.Addr().IsLoopback()) {
			return fmt.Errorf("--console-proxy-addresses has %s: everybody may come from there, so --console-proxy-secret-file is needed, too", a)
		}
	}
	return nil
}

func (c Console) service() (types.NamespacedName, error) {
	name, ok := namespacedName(c.Service)
	if !ok {
		return types.NamespacedName{}, fmt.Errorf("--console-service is %q: use the namespace/name of the Service that leads to --console-bind-address", c.Service)
	}
	return name, nil
}

// hosts are the names that the console is reached by.
func (c Console) hosts(service types.NamespacedName) []string {
	all := []string{"localhost", service.Name, service.Name + "." + service.Namespace}
	for _, end := range []string{".svc", ".svc.cluster.local"} {
		all = append(all, service.Name+"."+service.Namespace+end)
	}
	return append(all, c.Hosts...)
}

// names are the hosts that a certificate can be for: no addresses.
func names(hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return net.ParseIP(host) != nil })
}

// addConsole serves the console on every replica. It connects to NATS as the operator does, by connections of its own, so that what people read
// holds up nothing else.
func addConsole(mgr ctrl.Manager, options Options) error {
	o := options.Console
	if o.Address == "" {
		return nil
	}
	service, err := o.service()
	if err != nil {
		return err
	}
	secret := service
	if o.Secret != "" {
		secret.Name = o.Secret
	}
	addresses, err := identity.ParseAddresses(o.ProxyAddresses)
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	log := mgr.GetLogger().WithName("console")
	pool := jetstream.NewPool(jetstream.PoolOptions{
		Name: "millrace-console", Deaf: true, Patience: 5 * time.Second, RequestTimeout: 10 * time.Second, Log: log,
	})
	nats := access.New(access.Options{
		Objects: mgr.GetAPIReader(), Pool: pool, Default: options.defaultServer(), AllowUnpaired: !options.RequireSecretAnnotation,
	})
	cluster, err := view.NewCluster(mgr.GetClient(), options.NATS, nats.Client)
	if err != nil {
		return err
	}
	source := view.NewOwned(cluster, options.ClusterName, time.Now)
	reader, err := view.New(source, time.Now)
	if err != nil {
		return err
	}
	s := &consoleServer{address: o.Address, log: log}
	if !o.ReadOnly {
		if s.options.Editor, err = deadletter.New(source, time.Now); err != nil {
			return err
		}
	}
	hosts := o.hosts(service)
	s.certificate = &serving.Certificate{
		Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Service: service, Secret: secret, Managed: !o.SecretGiven, Names: names(hosts),
		Elected: mgr.Elected(), Now: time.Now, Log: log,
	}
	users := identity.New(identity.Options{
		Kubernetes: clientset, Key: s.key, Proxy: identity.Proxy{Addresses: addresses, SecretFile: o.ProxySecretFile},
	})
	s.options.Reader, s.options.Access, s.options.Sessions = reader, users, users
	s.options.Hosts, s.options.Version, s.options.Log = hosts, options.Version, log
	return errors.Join(mgr.Add(pool), mgr.Add(s))
}

// consoleServer serves the console by TLS.
type consoleServer struct {
	address     string
	options     console.Options
	certificate *serving.Certificate
	log         logr.Logger
}

// NeedLeaderElection is false: each replica answers.
func (*consoleServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *consoleServer) Start(ctx context.Context) error {
	handler, err := console.New(ctx, s.options)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("--console-bind-address: %w", err)
	}
	server := console.Server(handler)
	// What goes wrong on a connection, such as a browser that does not know the certificate, is for who looks into it.
	server.ErrorLog = slog.NewLogLogger(logr.ToSlogHandler(s.log), slog.LevelDebug)
	server.BaseContext = func(net.Listener) context.Context { return ctx } // streams end with it
	server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Get() },
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	s.log.Info("serves the console", "address", listener.Addr().String(), "readOnly", s.options.Editor == nil)
	go serving.Keep(ctx, s.refresh, func(err error) { s.log.Error(err, "the console is not served yet", "secret", s.certificate.Secret) })
	select {
	case err := <-served:
		return fmt.Errorf("serve the console: %w", err)
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil {
		s.log.Error(err, "the console did not end well")
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *consoleServer) refresh(ctx context.Context) error {
	_, err := s.certificate.Refresh(ctx)
	return err
}

// key is the private key of the certificate, which all replicas have.
func (s *consoleServer) key() ([]byte, error) {
	c, err := s.certificate.Get()
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(c.PrivateKey)
}
