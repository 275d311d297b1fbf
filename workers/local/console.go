package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/nats-io/nats-server/v2/server"

	"millrace.dev/millrace/controllers/console"
	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
)

// inProcess is the URL of the embedded server, to which nobody connects by address.
const inProcess = "nats://in-process:4222"

// serveConsole serves the console of a run until stop is called. What the run stores is read through connections of its own.
func serveConsole(ctx context.Context, o Options, env Environment, p *plan.Plan, srv *server.Server) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Console)
	if err != nil {
		return nil, fmt.Errorf("--console: %w", err)
	}
	source := view.NewPlans(view.Server{URL: inProcess, InProcess: srv}, p)
	ctx, end := context.WithCancel(ctx)
	handler, err := consoleOf(ctx, o, env, source)
	if err != nil {
		end()
		source.Close()
		_ = listener.Close()
		return nil, err
	}
	web := console.Server(handler)
	web.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			env.Log.Error("the console ended", "err", err)
		}
	}()
	fmt.Fprintf(env.Progress, "console at http://%s/\n", listener.Addr())
	return func() {
		end()
		_ = web.Close()
		<-served
		source.Close()
	}, nil
}

func consoleOf(ctx context.Context, o Options, env Environment, source *view.Plans) (http.Handler, error) {
	reader, err := view.New(source, time.Now)
	if err != nil {
		return nil, err
	}
	editor, err := deadletter.New(source, time.Now)
	if err != nil {
		return nil, err
	}
	return console.New(ctx, console.Options{
		Reader: reader, Editor: editor, Version: o.Version, Log: logr.FromSlogHandler(env.Log.Handler()),
	})
}
