package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"millrace.dev/millrace/workers/config"
)

// program is what the programs have in common that this binary runs as, in the place of
// workers.
type program struct {
	config  *config.StageConfig
	conn    *nats.Conn
	js      jetstream.JetStream
	metrics *prometheus.Registry
	input   jetstream.Consumer
	stop    func()
}

// consumerName is the durable consumer of a stage for these programs.
func consumerName(stage string) string { return "bench-" + stage }

// newProgram reads the flags and connects. More flags are added by more.
func newProgram(ctx context.Context, args []string, more func(*flag.FlagSet)) (*program, error) {
	f := flag.NewFlagSet("bench program", flag.ContinueOnError)
	file := f.String("config", "", "stage config")
	listen := f.String("listen", "", "address of /readyz and /metrics")
	f.Bool("pprof", true, "as workers have it; always on")
	more(f)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(*file)
	if err != nil {
		return nil, err
	}
	p := &program{metrics: prometheus.NewRegistry()}
	if p.config, err = config.Parse(data); err != nil {
		return nil, err
	}
	if p.conn, err = nats.Connect(p.config.NATS.URL); err != nil {
		return nil, err
	}
	if p.js, err = jetstream.New(p.conn, jetstream.WithPublishAsyncMaxPending(2048)); err != nil {
		return nil, err
	}
	if p.input, err = p.js.Consumer(ctx, p.config.Inputs[0].Stream, consumerName(p.config.Stage)); err != nil {
		return nil, err
	}
	p.metrics.MustRegister(collectors.NewGoCollector())
	if err := p.serve(ctx, *listen); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *program) serve(ctx context.Context, addr string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.Handle("GET /debug/pprof/heap", pprof.Handler("heap"))
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	p.stop = func() { _ = server.Close(); p.conn.Close() }
	return nil
}

// publish publishes asynchronously; what is refused ends the program.
func (p *program) publish(m *nats.Msg) (jetstream.PubAckFuture, error) {
	return p.js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute))
}

// startPrograms starts this binary as name in the place of each worker, with a durable
// consumer of its own for each stage; those of the plan are deleted.
func startPrograms(ctx context.Context, t *trial, name string, maxAckPending int, args func(stage string) []string) error {
	js := t.rig.JetStream()
	for _, s := range t.rig.Plan().Stages {
		for _, c := range s.Consumers {
			if err := js.DeleteConsumer(ctx, c.Stream, c.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return err
			}
		}
	}
	t.lastStream = t.rig.Output(enrichStage, "out").Stream
	t.filters = map[string]string{consumerName(correlateStage): "", consumerName(analyzeStage): ""}
	for _, s := range t.rig.Plan().Stages {
		_, err := js.CreateConsumer(ctx, s.Consumers[0].Stream, jetstream.ConsumerConfig{
			Durable: consumerName(s.Name), AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxAckPending: maxAckPending,
		})
		if err != nil {
			return err
		}
		w, err := t.rig.StartProgram(s.Name, t.self, append([]string{name}, args(s.Name)...)...)
		if err != nil {
			return err
		}
		if err := w.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}
