package lag

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// Where the API server says how it can be known as a front proxy.
const (
	proxyNamespace = "kube-system"
	proxyConfigMap = "extension-apiserver-authentication"
	proxyCA        = "requestheader-client-ca-file"
)

// Server serves the external metrics to the API server's aggregation layer.
type Server struct {
	// Address to listen on.
	Address string
	Meter   *Meter
	// Kubernetes reads the configuration of the front proxy and asks who may read metrics.
	Kubernetes kubernetes.Interface
	// Certificate is what to serve with; it is asked at each connection.
	Certificate func() (*tls.Certificate, error)
}

// NeedLeaderElection is false: the Service may lead to any replica.
func (*Server) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *Server) Start(ctx context.Context) error {
	proxy, err := s.proxy(ctx)
	if err != nil {
		return fmt.Errorf("external metrics: read ConfigMap %s/%s: %w; bind the operator to the Role extension-apiserver-authentication-reader there",
			proxyNamespace, proxyConfigMap, err)
	}
	server := &http.Server{
		Addr: s.Address, Handler: guard(proxy, s.api(newPermissions(s.Kubernetes))),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Certificate() },
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var group errgroup.Group
	group.Go(func() error {
		if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("external metrics: %w", err)
		}
		return nil
	})
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	return group.Wait()
}

// proxy knows the front proxy by its client certificate, and takes the user from its headers.
func (s *Server) proxy(ctx context.Context) (authenticator.Request, error) {
	ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController("front-proxy", proxyNamespace, proxyConfigMap, proxyCA, s.Kubernetes)
	if err != nil {
		return nil, err
	}
	headers := headerrequest.NewRequestHeaderAuthRequestController(proxyConfigMap, proxyNamespace, s.Kubernetes,
		"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
		"requestheader-extra-headers-prefix", "requestheader-allowed-names")
	if err := ca.RunOnce(ctx); err != nil {
		return nil, err
	}
	if err := headers.RunOnce(ctx); err != nil {
		return nil, err
	}
	go ca.Run(ctx, 1)
	go headers.Run(ctx, 1)
	return headerrequest.NewDynamicVerifyOptionsSecure(ca.VerifyOptions,
		headerrequest.StringSliceProviderFunc(headers.AllowedClientNames),
		headerrequest.StringSliceProviderFunc(headers.UsernameHeaders), headerrequest.StringSliceProviderFunc(headers.UIDHeaders),
		headerrequest.StringSliceProviderFunc(headers.GroupHeaders), headerrequest.StringSliceProviderFunc(headers.ExtraHeaderPrefixes)), nil
}

// userKey finds the user in the context of a request.
type userKey struct{}

// guard lets in what the front proxy sends. Discovery is for everybody: it tells nothing, and the API server
// itself asks for it in the name of users without any right. Refused, the whole group would count as stale,
// and with it the discovery that the deletion of namespaces needs.
func guard(proxy authenticator.Request, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := proxy.AuthenticateRequest(r)
		if err != nil || !ok {
			refuse(w, apierrors.NewUnauthorized("only the API server's aggregation layer may ask here"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, who.User)))
	})
}

// permitted lets in users who may read the metric of the namespace that the path names.
func permitted(p *permissions, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok := r.Context().Value(userKey{}).(user.Info)
		if !ok {
			refuse(w, apierrors.NewUnauthorized("nobody asks"))
			return
		}
		err := p.check(r.Context(), who, r.PathValue("namespace"), r.PathValue("metric"))
		var refused *apierrors.StatusError
		switch {
		case errors.As(err, &refused):
			refuse(w, refused)
		case err != nil:
			refuse(w, apierrors.NewInternalError(err))
		default:
			next(w, r)
		}
	}
}
