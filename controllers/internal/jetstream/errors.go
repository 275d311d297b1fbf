package jetstream

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// ErrNotFound says that the stream, consumer or message does not exist.
var ErrNotFound = errors.New("not found")

// UnreachableError says that a server did not answer, or that its JetStream does not serve
// at the moment. Trying again later may help.
type UnreachableError struct {
	// Server is the URL without user and password.
	Server string
	// Domain is the JetStream domain that was asked; empty = the server itself.
	Domain config.Domain
	// Connection tells the connections of a pool apart.
	Connection string
	Err        error
}

func (e *UnreachableError) Error() string {
	switch {
	case noJetStream(e.Err) && e.Domain != "":
		return fmt.Sprintf("NATS at %s answers, but no JetStream in domain %s does: check spec.nats.jetStreamDomain of the Pipeline, or "+
			"--nats-jetstream-domain, and that the leaf node is connected to a server of that domain (%v)", e.Server, e.Domain, e.Err)
	case noJetStream(e.Err):
		return fmt.Sprintf("NATS at %s answers, but its JetStream does not: turn JetStream on in the server and in the account of the user. "+
			"If it is in a domain that the server reaches as a leaf node, set spec.nats.jetStreamDomain of the Pipeline, or --nats-jetstream-domain (%v)", e.Server, e.Err)
	}
	return fmt.Sprintf("NATS at %s is unreachable: %v", e.Server, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// noJetStream says whether a connected server has no JetStream for the user.
func noJetStream(err error) bool {
	var refusal api.ApiError
	return errors.Is(err, nats.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) ||
		errors.As(err, &refusal) && (refusal.ErrCode == notEnabledForAccount || refusal.ErrCode == notEnabled)
}

// IsUnreachable reports whether err came from a server that did not answer.
func IsUnreachable(err error) bool {
	var u *UnreachableError
	return errors.As(err, &u)
}

// ConnectionOf names the connection that an error came from; empty when it came from none.
func ConnectionOf(err error) string {
	if u := (*UnreachableError)(nil); errors.As(err, &u) {
		return u.Connection
	}
	return ""
}

// classify turns an error of jsm.go into ErrNotFound, an UnreachableError, or the server's
// refusal as it is.
func (c *Client) classify(err error) error {
	if err == nil {
		return nil
	}
	var refusal api.ApiError
	if !errors.As(err, &refusal) {
		return c.unreachable(err)
	}
	switch refusal.Code {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, refusal.Error())
	case http.StatusServiceUnavailable:
		return c.unreachable(err)
	default:
		return err
	}
}

func (c *Client) unreachable(err error) *UnreachableError {
	return &UnreachableError{Server: c.server, Domain: c.domain, Connection: c.connection, Err: err}
}
