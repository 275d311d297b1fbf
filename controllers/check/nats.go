package check

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// oldest is the oldest server that does what the workers need (consumer reset).
const oldest = "2.14.0"

// natsServer checks a server, with the connection of a pool.
type natsServer struct {
	pool   *jetstream.Pool
	server jetstream.Server
	// client is set once the server was reached.
	client *jetstream.Client
}

func (n *natsServer) reach(context.Context) (string, error) {
	client, err := n.pool.Client(n.server)
	if err != nil {
		return "", fmt.Errorf("%w: check the URL (nats.url of the chart), the credentials, and that a NetworkPolicy lets this pod through", err)
	}
	n.client = client
	return "connected to " + client.Server(), nil
}

func (n *natsServer) account() (jetstream.Account, error) {
	if n.client == nil {
		return jetstream.Account{}, finalError{errors.New("not known: NATS is not reached")}
	}
	return n.client.Account()
}

func (n *natsServer) version(context.Context) (string, error) {
	account, err := n.account()
	if account.Version == "" {
		return "", err
	}
	have, err := version.ParseGeneric(account.Version)
	if err != nil {
		return "", finalError{fmt.Errorf("the server calls itself %q: %w", account.Version, err)}
	}
	if have.LessThan(version.MustParseGeneric(oldest)) {
		return "", finalError{fmt.Errorf("the server is NATS %s: upgrade it to %s or newer", account.Version, oldest)}
	}
	return fmt.Sprintf("NATS %s, messages of up to %d bytes", account.Version, account.MaxPayload), nil
}

func (n *natsServer) jetStream(context.Context) (string, error) {
	account, err := n.account()
	switch {
	case errors.Is(err, jetstream.ErrNoJetStream) && n.server.Domain != "":
		return "", fmt.Errorf("%w: no JetStream answers in domain %s: check --nats-jetstream-domain (nats.jetStreamDomain of the chart), "+
			"and that the leaf node is connected to a server of that domain", err, n.server.Domain)
	case errors.Is(err, jetstream.ErrNoJetStream):
		return "", fmt.Errorf("%w: turn it on in the server (config.jetstream.enabled=true of the NATS chart), and for the account of the user. "+
			"If JetStream is in a domain that this server reaches as a leaf node, name it: --nats-jetstream-domain (nats.jetStreamDomain of the chart)", err)
	case err != nil && account.Version != "":
		return "", fmt.Errorf("%w; the user must be allowed to publish to %s: millrace nats-permissions prints the operator's rights", err, n.server.Domain.API("INFO"))
	case err != nil:
		return "", err
	}
	if err := room(account); err != nil {
		return "", finalError{err}
	}
	return fmt.Sprintf("on: %d streams of %s, %d consumers, %d bytes of file storage used or reserved of %s",
		account.Streams, limit(int64(account.Limits.MaxStreams)), account.Consumers, account.Storage, limit(account.Limits.MaxStore)), nil
}

// room is an error when the account can hold no further stream on file.
func room(a jetstream.Account) error {
	if most := a.Limits.MaxStreams; most > 0 && a.Streams >= most {
		return fmt.Errorf("the account has %d streams of at most %d: raise its limit, or no Pipeline can be added", a.Streams, most)
	}
	if most := a.Limits.MaxStore; most >= 0 && a.Storage >= uint64(most) {
		return fmt.Errorf("the account has used or reserved %d bytes of file storage of at most %d: raise its limit, or no Pipeline can be added", a.Storage, most)
	}
	return nil
}

// limit in words; below 0 is none.
func limit(n int64) string {
	if n < 0 {
		return "any number"
	}
	return fmt.Sprint(n)
}
