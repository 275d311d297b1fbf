package collect

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config/connect"
)

// Connect returns a connection that comes up when the server does, and again after it was
// away, or its credentials were replaced, and JetStream over it. NATS shows the name, such as "millrace collect
// kubernetes production"; inbox is what the subjects begin with that it listens on (config.CollectorInbox).
func (f *Flags) Connect(name, inbox string, log *slog.Logger) (*nats.Conn, jetstream.JetStream, error) {
	failures := &dialFailures{log: log, url: f.NATS.URL}
	options := []nats.Option{
		nats.Name(name), nats.CustomInboxPrefix(inbox),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error, and is tried again
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("disconnected from NATS", "error", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS reports an error", "error", err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { failures.add(err) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			failures.add(nil)
			log.Info("connected to NATS", "url", c.ConnectedUrlRedacted())
		}),
	}
	login := connect.Login{TLS: f.NATS.TLS, HandshakeFirst: f.NATS.TLSHandshakeFirst, Load: func() (connect.Material, error) { return connect.Files(f.NATS) }}
	connection, err := connect.NATS(f.NATS.URL, login, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.NewWithAPIPrefix(connection, f.NATS.JetStreamDomain.API(""))
	if err != nil {
		connection.Close()
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return connection, js, nil
}

// dialFailures logs why a connection does not come up, each reason once.
type dialFailures struct {
	log *slog.Logger
	url string

	mu   sync.Mutex
	last string
}

func (d *dialFailures) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reason := ""
	if err != nil {
		reason = explain(err).Error()
	}
	if reason != "" && reason != d.last {
		d.log.Warn("cannot connect to NATS; trying again", "url", d.url, "error", reason)
	}
	d.last = reason
}

// errNotConnected stands for what the client says of a message that it cannot send.
var errNotConnected = errors.New("not connected to NATS")

// explain puts an error of the NATS client into words that say what to do.
func explain(err error) error {
	var lookup *net.DNSError
	switch {
	case errors.As(err, &lookup):
		return fmt.Errorf("the name %s does not resolve: check --nats-url, and the cluster's DNS (%w)", lookup.Name, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("JetStream does not answer: turn it on in the server; where it is in a domain that the server reaches as a leaf node, "+
			"name the domain with --nats-jetstream-domain (%w)", err)
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return errNotConnected
	}
	return err
}
