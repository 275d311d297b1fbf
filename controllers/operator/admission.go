package operator

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"millrace.dev/millrace/controllers/admission"
	"millrace.dev/millrace/controllers/internal/serving"
)

// Webhook says how the admission webhook is served.
type Webhook struct {
	// Address to listen on, host:port; empty = no webhook.
	Address string
	// Service (namespace/name) in front of it.
	Service string
	// Configuration is the name of the ValidatingWebhookConfiguration.
	Configuration string
	// Secret holds the certificate, in the namespace of the Service; empty = the name of the Service.
	Secret string
	// SecretGiven says that somebody else keeps the Secret.
	SecretGiven bool
}

func (w Webhook) check() error {
	if w.Address == "" {
		return nil
	}
	if _, _, err := w.listen(); err != nil {
		return err
	}
	if _, err := w.service(); err != nil {
		return err
	}
	if w.Configuration == "" {
		return fmt.Errorf("--webhook-configuration is missing: name the ValidatingWebhookConfiguration that leads to --webhook-service")
	}
	return nil
}

func (w Webhook) listen() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(w.Address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("--webhook-bind-address is %q: use host:port, such as :9443", w.Address)
	}
	return host, port, nil
}

func (w Webhook) service() (types.NamespacedName, error) {
	name, ok := namespacedName(w.Service)
	if !ok {
		return types.NamespacedName{}, fmt.Errorf("--webhook-service is %q: use the namespace/name of the Service that leads to --webhook-bind-address", w.Service)
	}
	return name, nil
}

// addAdmission serves the admission webhook.
func addAdmission(mgr ctrl.Manager, options Options) error {
	w := options.Webhook
	if w.Address == "" {
		return nil
	}
	service, err := w.service()
	if err != nil {
		return err
	}
	host, port, err := w.listen()
	if err != nil {
		return err
	}
	secret := service
	if w.Secret != "" {
		secret.Name = w.Secret
	}
	registration := &admission.Registration{
		Certificate: &serving.Certificate{
			Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Service: service, Secret: secret, Managed: !w.SecretGiven,
			Elected: mgr.Elected(), Now: time.Now, Log: mgr.GetLogger().WithName("admission"),
		},
		Configuration: w.Configuration,
	}
	server := webhook.NewServer(webhook.Options{Host: host, Port: port, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return registration.Get() }
	}}})
	server.Register(admission.Path, &ctrladmission.Webhook{Handler: &admission.Handler{
		Reader: mgr.GetClient(), Decoder: ctrladmission.NewDecoder(mgr.GetScheme()), DefaultNATSURL: options.NATS.URL,
	}})
	if err := mgr.Add(registration); err != nil {
		return err
	}
	return mgr.Add(server)
}
