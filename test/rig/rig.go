package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

// Options of a rig. Binary and one of Manifest and Pipeline are required.
type Options struct {
	// Manifest is the path of a file that holds one Pipeline and the Stages attached to it.
	Manifest string
	// Pipeline is the pipeline when there is no Manifest. It is taken as it is: no rule of
	// the CRD is checked.
	Pipeline *v1alpha1.Pipeline
	// Change, if set, may change a pipeline that was read from Manifest before it is planned.
	Change func(*v1alpha1.Pipeline)
	// Binary is the path of the millrace binary (see Build).
	Binary string
	// WorkerArgs are added to the command line of every worker.
	WorkerArgs []string
	// WorkerEnv is added to the environment of every worker, as KEY=VALUE.
	WorkerEnv []string
	// Dir holds configs, logs and the store. Default: a temporary one, removed by Close.
	Dir string
	// NATS are options of the server; Dir is set by the rig.
	NATS natsserver.Options
	// Login, if set, names the files that the workers of a stage connect with; the URL is the rig's.
	Login func(stage string) config.NATS
	// Log is told what the rig does; nil discards it.
	Log *slog.Logger
}

// Rig is a pipeline on a NATS server of its own. Its methods may be called from any
// goroutine.
type Rig struct {
	o       Options
	dir     string
	ownsDir bool
	log     *slog.Logger
	server  *natsserver.Server
	conn    *nats.Conn
	js      jetstream.JetStream
	plan    *plan.Plan
	configs map[string]string // path of the config of a stage

	mu      sync.Mutex
	workers []*Worker
}

// Start starts the server and makes what the plan says. ctx bounds the start alone.
func Start(ctx context.Context, o Options) (*Rig, error) {
	r := &Rig{o: o, dir: o.Dir, log: o.Log, configs: map[string]string{}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if o.Binary == "" {
		return nil, errors.New("start rig: Binary is missing: the path of the millrace binary")
	}
	if r.dir == "" {
		dir, err := os.MkdirTemp("", "millrace-rig-")
		if err != nil {
			return nil, fmt.Errorf("start rig: %w", err)
		}
		r.dir, r.ownsDir = dir, true
	}
	if err := r.start(ctx); err != nil {
		return nil, fmt.Errorf("start rig: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

func (r *Rig) start(ctx context.Context) error {
	pipeline, stages, err := r.load(ctx)
	if err != nil {
		return err
	}
	options := r.o.NATS
	options.Dir = filepath.Join(r.dir, "nats")
	if r.server, err = natsserver.Start(ctx, options); err != nil {
		return err
	}
	var refusals error
	r.plan, refusals = compute(pipeline, stages, r.server.URL())
	if refusals != nil {
		return refusals
	}
	r.conn, err = r.server.Connect(nats.Name("rig"), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0), nats.RetryOnFailedConnect(true))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if r.js, err = jetstream.New(r.conn); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if err := apply(ctx, r.js, r.plan); err != nil {
		return err
	}
	return r.writeConfigs()
}

// load reads the pipeline and what is attached to it.
func (r *Rig) load(ctx context.Context) (*v1alpha1.Pipeline, []v1alpha1.Stage, error) {
	if r.o.Pipeline != nil {
		return r.o.Pipeline, nil, nil
	}
	set, problems, err := manifest.Load(ctx, r.o.Manifest)
	if err != nil {
		return nil, nil, err
	}
	if len(problems) > 0 {
		return nil, nil, fmt.Errorf("%s: %s: %s", problems[0].File, problems[0].Path, problems[0].Message)
	}
	if len(set.Pipelines) != 1 {
		return nil, nil, fmt.Errorf("%s holds %d pipelines, want 1", r.o.Manifest, len(set.Pipelines))
	}
	pipeline := &set.Pipelines[0]
	if r.o.Change != nil {
		r.o.Change(pipeline)
	}
	return pipeline, set.Stages, nil
}

func compute(pipeline *v1alpha1.Pipeline, stages []v1alpha1.Stage, url string) (*plan.Plan, error) {
	p, refusals := plan.Compute(plan.Input{Pipeline: pipeline, Stages: stages, DefaultNATSURL: url})
	if len(refusals) > 0 {
		return nil, fmt.Errorf("plan: %w", refusals.ToAggregate())
	}
	return p, nil
}

// writeConfigs writes what the workers of each stage read.
func (r *Rig) writeConfigs() error {
	for _, s := range r.plan.Stages {
		path := filepath.Join(r.dir, s.Name+".json")
		if r.o.Login != nil {
			login := r.o.Login(s.Name)
			login.URL, login.JetStreamDomain = s.Config.NATS.URL, s.Config.NATS.JetStreamDomain
			s.Config.NATS = login
		}
		data, err := s.Config.Encode()
		if err != nil {
			return fmt.Errorf("encode the config of stage %s: %w", s.Name, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		r.configs[s.Name] = path
	}
	return nil
}

// ConfigFile is the path of the config that workers of a stage read when they start. A test
// may change the file between two starts.
func (r *Rig) ConfigFile(stage string) string { return r.configs[stage] }

// Plan is what the rig was made from. It must not be changed.
func (r *Rig) Plan() *plan.Plan { return r.plan }

// Stage is the plan of one stage; nil when there is none of this name.
func (r *Rig) Stage(name string) *plan.Stage {
	for i := range r.plan.Stages {
		if r.plan.Stages[i].Name == name {
			return &r.plan.Stages[i]
		}
	}
	return nil
}

// Output is where a port of a stage publishes.
func (r *Rig) Output(stage, port string) config.Output {
	s := r.Stage(stage)
	if s == nil {
		return config.Output{}
	}
	return s.Config.Outputs[port]
}

// Conn is the rig's own connection. It reconnects by itself after RestartNATS.
func (r *Rig) Conn() *nats.Conn { return r.conn }

// JetStream uses Conn.
func (r *Rig) JetStream() jetstream.JetStream { return r.js }

// URL of the server.
func (r *Rig) URL() string { return r.server.URL() }

// Server is the nats-server process.
func (r *Rig) Server() *natsserver.Server { return r.server }

// Dir holds configs, logs and the store.
func (r *Rig) Dir() string { return r.dir }

// KillNATS kills the server as kill -9 does. Its store stays.
func (r *Rig) KillNATS() {
	r.server.Kill9()
	r.log.Info("NATS killed")
}

// RestartNATS starts the server again on its store and port, and waits until the rig is
// connected to it again. A server that still runs is ended in order first.
func (r *Rig) RestartNATS(ctx context.Context) error {
	if err := r.server.Restart(ctx); err != nil {
		return fmt.Errorf("restart NATS: %w", err)
	}
	for !r.conn.IsConnected() {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("restart NATS: connect again: %w", err)
		}
	}
	r.log.Info("NATS runs again")
	return nil
}

// Close kills all workers and the server.
func (r *Rig) Close() error {
	for _, w := range r.Workers() {
		w.Kill9()
	}
	if r.conn != nil {
		r.conn.Close()
	}
	if r.server != nil {
		r.server.Stop()
	}
	if r.ownsDir {
		return os.RemoveAll(r.dir)
	}
	return nil
}

// Logs writes the end of the logs of all workers and of the server, for a test that failed.
func (r *Rig) Logs(w io.Writer, bytesEach int64) {
	for _, worker := range r.Workers() {
		fmt.Fprintf(w, "--- %s (pid %d)\n%s\n", worker.Name(), worker.Pid(), worker.LogTail(bytesEach))
	}
	if r.server != nil {
		fmt.Fprintf(w, "--- nats-server\n%s\n", tail(r.server.LogFile(), bytesEach))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
