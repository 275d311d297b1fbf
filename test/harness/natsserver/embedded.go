package natsserver

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Embedded is a NATS server in this process.
type Embedded struct {
	*endpoint
	Server *server.Server
}

// StartEmbedded starts a server in this process and waits until it serves.
func StartEmbedded(ctx context.Context, options Options) (*Embedded, error) {
	e, err := newEndpoint(options)
	if err != nil {
		return nil, fmt.Errorf("start embedded nats-server: %w", err)
	}
	s, err := e.run(ctx)
	if err != nil {
		e.cleanup()
		return nil, fmt.Errorf("start embedded nats-server: %w", err)
	}
	return &Embedded{endpoint: e, Server: s}, nil
}

func (e *endpoint) run(ctx context.Context) (*server.Server, error) {
	options, err := server.ProcessConfigFile(e.configFile)
	if err != nil {
		return nil, err
	}
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	s.Start()
	if err := e.waitReady(ctx, func() error { return nil }); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

// Reload has the running server take another Options.Config.
func (e *Embedded) Reload(config string) error {
	if err := e.reconfigure(config); err != nil {
		return fmt.Errorf("reload nats-server: %w", err)
	}
	return e.Server.Reload()
}

// Stop shuts the server down and removes its folder, unless it was given.
func (e *Embedded) Stop() {
	e.Server.Shutdown()
	e.Server.WaitForShutdown()
	e.cleanup()
}
