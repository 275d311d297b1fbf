package local

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/stats"
)

// runner is one run under way.
type runner struct {
	opts    Options
	env     Environment
	plan    *plan.Plan
	js      jetstream.JetStream
	conns   []*nats.Conn
	engines map[string]*engine.Engine
	outputs []*outputWriter
	feeder  *feeder
	after   marks            // where the streams ended when the run began
	before  map[string]int64 // events that an earlier run left to each stage
	started time.Time
	ended   time.Time
}

func newRunner(ctx context.Context, o Options, env Environment, p *plan.Plan, srv *server.Server) (_ *runner, err error) {
	r := &runner{opts: o, env: env, plan: p, engines: map[string]*engine.Engine{}, started: time.Now()}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.js, err = r.connect(srv, "millrace-run"); err != nil {
		return nil, err
	}
	// Before the streams are made: with --listen, others publish from then on.
	if r.after, err = markStreams(ctx, r.js, p); err != nil {
		return nil, err
	}
	if err := apply(ctx, r.js, p); err != nil {
		return nil, err
	}
	if r.before, err = r.backlog(ctx); err != nil {
		return nil, err
	}
	for _, s := range p.Stages {
		if err := r.addEngine(srv, s); err != nil {
			return nil, err
		}
	}
	for _, out := range o.Outputs {
		w, err := r.openOutput(ctx, srv, out)
		if err != nil {
			return nil, err
		}
		r.outputs = append(r.outputs, w)
	}
	feed, err := r.connect(srv, "millrace-input")
	if err != nil {
		return nil, err
	}
	subject, _ := cutLast(p.Ingress.Subjects[0])
	r.feeder = &feeder{
		js: feed, stream: p.Ingress.Name, subject: subject + ".input", rate: o.Rate,
		run: strconv.FormatInt(r.started.UnixNano(), 36),
	}
	if o.UntilDrained {
		r.feeder.stuck = r.allDrained
	}
	return r, nil
}

// cutLast cuts the last token off a subject.
func cutLast(subject string) (before, last string) {
	for i := len(subject) - 1; i >= 0; i-- {
		if subject[i] == '.' {
			return subject[:i], subject[i+1:]
		}
	}
	return "", subject
}

func (r *runner) connect(srv *server.Server, name string) (jetstream.JetStream, error) {
	nc, err := dial(srv, name)
	if err != nil {
		return nil, err
	}
	r.conns = append(r.conns, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return js, nil
}

// addEngine gives a stage an engine with a connection of its own, as a worker has one. The
// engine of its head runs a chained stage.
func (r *runner) addEngine(srv *server.Server, s plan.Stage) error {
	if s.Suspended || s.Head != "" {
		return nil
	}
	factory, err := r.env.Registry.Factory(s.Config.Kind)
	if err != nil {
		return fmt.Errorf("stage %s: %w", s.Name, err)
	}
	js, err := r.connect(srv, "millrace-stage-"+s.Name)
	if err != nil {
		return err
	}
	cfg := s.Config
	cfg.Leases = ""          // this process has all lanes
	cfg.NATS = config.NATS{} // the embedded server is in no domain
	if err := secretsOf(&cfg, r.opts.SecretFiles); err != nil {
		return err
	}
	if err := modelsOf(&cfg, r.opts.modelFiles); err != nil {
		return err
	}
	e, err := engine.New(engine.Options{Config: &cfg, Factory: factory, Registry: r.env.Registry, Conn: js.Conn(), Log: r.env.Log, StreamTime: r.env.StreamTime})
	if err != nil {
		return err
	}
	r.engines[s.Name] = e
	return nil
}

// secretsOf has the settings of a stage name files below dir, which stands for the Secrets of a cluster.
func secretsOf(c *config.StageConfig, dir string) error {
	files := c.SecretFiles()
	if len(files) == 0 {
		return nil
	}
	if dir == "" {
		return usage.Error{Err: fmt.Errorf("stage %s reads %s: put its value into a file of that name, and name the folder with --secret-files", c.Stage, files[0])}
	}
	for _, file := range files {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return usage.Error{Err: fmt.Errorf("--secret-files, for stage %s: %w", c.Stage, err)}
		}
	}
	c.SecretsIn(dir)
	return nil
}

// modelsOf has the settings of a stage name files below dir, which stands for the ConfigMaps of a cluster.
func modelsOf(c *config.StageConfig, dir string) error {
	for _, file := range c.ModelFiles() {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return usage.Error{Err: fmt.Errorf("stage %s reads a model: put the value of the ConfigMap into the file NAME/KEY beside the manifest: %w", c.Stage, err)}
		}
	}
	c.ModelsIn(dir)
	return nil
}

func (r *runner) openOutput(ctx context.Context, srv *server.Server, out OutputFile) (*outputWriter, error) {
	for _, s := range r.plan.Stages {
		if s.Name != out.Stage {
			continue
		}
		pl, err := portPlace(s, out.Port)
		if err != nil {
			return nil, usage.Error{Err: fmt.Errorf("--output %s/%s: %w", out.Stage, out.Port, err)}
		}
		js, err := r.connect(srv, "millrace-output")
		if err != nil {
			return nil, err
		}
		return newOutputWriter(ctx, js, pl, r.after[pl.stream], s.Config.Outputs[out.Port].Format == config.FormatRaw, out.File)
	}
	return nil, usage.Error{Err: fmt.Errorf("--output %s/%s: the pipeline has no stage %q", out.Stage, out.Port, out.Stage)}
}

// stats returns what a stage did so far; nothing for one that is suspended.
func (r *runner) stats(s plan.Stage) stats.Snapshot {
	e := r.engines[cmp.Or(s.Head, s.Name)]
	if e == nil {
		return stats.Snapshot{}
	}
	st, _ := e.StatsOf(s.Name)
	if s.Head != "" {
		st.Lag = 0 // that of the engine counts at its head
	}
	return st
}

// start starts the engines in group, which goes on until ctx ends, also without one: what comes for
// stages that are suspended is stored.
func (r *runner) start(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { <-ctx.Done(); return nil })
	for _, e := range r.engines {
		group.Go(func() error { return e.Run(ctx) })
	}
}

func (r *runner) close() {
	for _, w := range r.outputs {
		w.close()
	}
	for _, nc := range r.conns {
		nc.Close()
	}
}

// order lists the stages as the summary shows them: as events flow.
func (r *runner) order() []string {
	names := make([]string, 0, len(r.plan.Stages))
	for _, s := range r.plan.Stages {
		names = append(names, s.Name)
	}
	return names
}

func (r *runner) progress() *progress {
	return &progress{w: r.env.Progress, terminal: r.env.Terminal, title: r.plan.Name, look: func() (int64, bool, []stageView) {
		views := make([]stageView, 0, len(r.plan.Stages))
		for _, s := range r.plan.Stages {
			st := r.stats(s)
			views = append(views, stageView{
				name: s.Name, in: st.In, lag: st.Lag, deadLettered: st.DeadLettered, p50: st.P50, p99: st.P99,
			})
		}
		return r.cameIn(), r.feeder.full.Load(), views
	}}
}

// cameIn is how many events have come in so far. What others publish is known from the stages that read the ingress:
// the messages need not say how many events they hold.
func (r *runner) cameIn() int64 {
	if !r.opts.others() {
		return r.feeder.sent.Load()
	}
	var most int64
	for _, s := range r.plan.Stages {
		if slices.ContainsFunc(s.Config.Inputs, func(in config.Input) bool { return in.Stream == r.plan.Ingress.Name }) {
			st := r.stats(s)
			most = max(most, st.In-st.Overflowed+st.Lag)
		}
	}
	return most
}

// settle writes the report from what the streams hold and what the stages say.
func (r *runner) settle(ctx context.Context) (*Report, []*eventv1.Event, error) {
	report := &Report{
		Pipeline: r.plan.Name, EventsIn: r.feeder.sent.Load(), Stages: map[string]StageReport{},
		Seconds: r.ended.Sub(r.started).Seconds(),
	}
	for _, s := range r.plan.Stages {
		st := r.stats(s)
		report.Stages[s.Name] = StageReport{
			In: st.In, Out: st.Out, Emitted: st.Emitted, Ports: st.Ports, Produced: st.Produced, Filtered: st.Filtered, Duplicates: st.Duplicates, Kept: st.Kept,
			DeadLettered: st.DeadLettered, Reasons: st.DeadLetters, Overflowed: st.Overflowed, Retried: st.Retried, Late: st.Late,
			P50: st.P50, P99: st.P99,
		}
		// The slowest of the last stages is what the user waits for.
		report.LatencyP50 = max(report.LatencyP50, st.EndToEndP50)
		report.LatencyP99 = max(report.LatencyP99, st.EndToEndP99)
	}
	left, err := r.backlog(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range left {
		report.Backlog += n
	}
	l := &ledger{
		plan: r.plan, report: report, after: r.after, before: r.before, left: left, skipped: map[string]map[string]int64{},
		open: r.opts.others(),
	}
	for _, s := range r.plan.Stages {
		l.skipped[s.Name] = r.stats(s).Skipped
	}
	if err := l.fill(ctx, r.js); err != nil {
		return nil, nil, err
	}
	if report.Seconds > 0 {
		report.EventsPerSecond = float64(report.EventsIn) / report.Seconds
	}
	insights, err := lastInsights(ctx, r.js, r.plan, r.after)
	if err != nil {
		return nil, nil, err
	}
	report.Insights = int64(len(insights))
	return report, insights, nil
}
