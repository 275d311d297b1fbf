package jetstream

import (
	"errors"
	"fmt"

	"github.com/nats-io/jsm.go/api"
)

// ErrNoJetStream says that the server, or the account of the user, has no JetStream.
var ErrNoJetStream = errors.New("JetStream is off")

// The codes of refusals without JetStream. Server source: server/errors.json.
const (
	notEnabledForAccount = 10039
	notEnabled           = 10076
)

// Account is what a server says of itself, and of JetStream in the account of the user.
type Account struct {
	// Version of the server: 2.15.2.
	Version string
	// MaxPayload is the largest message, in bytes.
	MaxPayload int64
	// Streams, Consumers, and the bytes of file storage that are used or, if these are more, reserved.
	Streams, Consumers int
	Storage            uint64
	// Limits of the account; a number below 0 is none. An account with tiers has limits for each of them,
	// and none here.
	Limits api.JetStreamAccountLimits
}

func (c *Client) accountInfo() (*api.JetStreamAccountStats, error) {
	return ask(c, "INFO", c.manager.JetStreamAccountInfo)
}

// Account asks for the limits of JetStream. The error is ErrNoJetStream where there is none; an
// UnreachableError may also mean that the user must not ask.
func (c *Client) Account() (Account, error) {
	a := Account{Version: c.nc.ConnectedServerVersion(), MaxPayload: c.nc.MaxPayload()}
	stats, err := c.accountInfo()
	switch {
	case noJetStream(err):
		return a, fmt.Errorf("%w: %w", ErrNoJetStream, err)
	case err != nil:
		return a, c.wrap(err, "ask for the limits of JetStream")
	}
	a.Streams, a.Consumers, a.Storage, a.Limits = stats.Streams, stats.Consumers, max(stats.Store, stats.ReservedStore), stats.Limits
	if len(stats.Tiers) > 0 {
		a.Limits = api.JetStreamAccountLimits{MaxStore: -1, MaxMemory: -1, MaxStreams: -1, MaxConsumers: -1}
	}
	return a, nil
}
