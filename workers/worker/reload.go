package worker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
)

// defaultReloadEvery is how often the config is looked at. The kubelet takes up to a minute to bring
// a change; a look is one small read.
const defaultReloadEvery = 2 * time.Second

// What becomes of a changed config: values of the metric label `result`.
const (
	reloadApplied = "applied"
	reloadRefused = "refused" // it is wrong
	reloadRestart = "restart" // it is right, and takes a restart
)

// reloadable is what goes on with other rules: the engine.
type reloadable interface {
	Reload(c *config.StageConfig) error
}

// reloader has the engine go on with the rules of a config file that changes.
type reloader struct {
	opts   Options
	engine reloadable
	seen   []byte // what was in the file when it was read last
	// unread is why the file could not be read; empty = it could.
	unread  string
	reloads *prometheus.CounterVec
}

// newReloader makes a reloader of what was read already.
func newReloader(o Options, e reloadable, c *config.StageConfig, data []byte, metrics prometheus.Registerer) *reloader {
	r := &reloader{opts: o, engine: e, seen: data, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_worker_config_reloads_total",
		Help: "Changes of the config while the worker ran, by what became of them: applied, refused (it is wrong) or restart (it takes one).",
		ConstLabels: prometheus.Labels{
			"pipeline": c.Pipeline.String(), "stage": c.Stage,
		},
	}, []string{"result"})}
	metrics.MustRegister(r.reloads)
	for _, result := range []string{reloadApplied, reloadRefused, reloadRestart} {
		r.reloads.WithLabelValues(result)
	}
	return r
}

// watch looks at the file until ctx ends. It compares what the file holds: the kubelet replaces a
// directory of links, of which notices tell little and network file systems nothing.
func (r *reloader) watch(ctx context.Context) {
	every := r.opts.ReloadEvery
	if every <= 0 {
		every = defaultReloadEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look()
		case <-ctx.Done():
			return
		}
	}
}

// look reloads the file when it has changed. What is wrong with it is said once, and the worker goes on
// with the rules that it has.
func (r *reloader) look() {
	data, err := os.ReadFile(r.opts.ConfigFile)
	if err != nil {
		if r.unread != err.Error() {
			r.opts.Log.Warn("the config cannot be read any more; the worker goes on with what it has", "error", err)
		}
		r.unread = err.Error()
		return
	}
	r.unread = ""
	if bytes.Equal(data, r.seen) {
		return
	}
	r.seen = data
	r.reloads.WithLabelValues(r.reload(data)).Inc()
}

func (r *reloader) reload(data []byte) (result string) {
	c, err := parseConfig(r.opts, data)
	if err == nil {
		err = r.engine.Reload(c)
	}
	switch {
	case err == nil:
		r.opts.Log.Info("the rules have changed: the worker goes on with the new ones")
		return reloadApplied
	case errors.Is(err, engine.ErrRestart):
		r.opts.Log.Warn("the config has changed; the worker goes on with what it has until it is restarted", "reason", err)
		return reloadRestart
	default:
		r.opts.Log.Error("the config has changed and is refused; the worker goes on with what it has", "error", err)
		return reloadRefused
	}
}
