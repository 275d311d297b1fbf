package gather

import (
	"context"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
)

// longestWait bounds how long rounds of all lanes wait behind others that all take their timeout: a call ends after a minute.
const longestWait = 20 * time.Second

// gatherer decides by its rules. It shares all else with those before and after a reload.
type gatherer struct {
	rules    rules
	asker    *asker
	breakers *breaker.Set
	inFlight int
}

// rules are the live settings.
type rules struct {
	stage        string
	timeout      time.Duration
	quorum, max  int
	onIncomplete config.OnIncomplete
	merge        config.Merge
	prefix       string
}

func rulesOf(c *config.StageConfig) rules {
	g := c.Gather
	return rules{
		stage: c.Stage, timeout: g.Timeout.D(), quorum: g.Quorum, max: g.Max, onIncomplete: g.OnIncomplete, merge: g.Merge, prefix: g.Prefix,
	}
}

// needed is how many answers an event needs.
func (r *rules) needed() int { return max(r.quorum, 1) }

// Reload returns a stage with the live settings of c.
func (g *gatherer) Reload(c *config.StageConfig) (stage.Stage, error) {
	if err := check(c.Gather); err != nil {
		return nil, err
	}
	return &gatherer{rules: rulesOf(c), asker: g.asker, breakers: g.breakers, inFlight: g.inFlight}, nil
}

// Start listens to replies. Responders may be away.
func (g *gatherer) Start(ctx context.Context) error { return g.asker.start(context.WithoutCancel(ctx)) }

// Shutdown ends what Start began.
func (g *gatherer) Shutdown(context.Context) error {
	g.asker.stop()
	return nil
}

// Notes say which breakers are not closed.
func (g *gatherer) Notes() []string { return g.breakers.Notes() }

// Open are the breakers that are not closed.
func (g *gatherer) Open() []config.OpenBreaker { return g.breakers.Open() }

// InFlight does not follow a live change of timeout.
func (g *gatherer) InFlight() int { return g.inFlight }

// inFlight is such that rounds which all take their timeout are not kept for too long. All lanes of a worker ask the same targets.
func inFlight(timeout time.Duration, lanes int) int {
	return int(min(max(longestWait/timeout/time.Duration(max(lanes, 1)), 1), 256))
}

// Begin asks about the events of b.
func (g *gatherer) Begin(ctx context.Context, b *stage.Batch, done func(error)) {
	g.asker.ask(ctx, g.rules, b, done)
}

// Process asks about the events of b, and waits.
func (g *gatherer) Process(ctx context.Context, b *stage.Batch) error {
	done := make(chan error, 1)
	g.Begin(ctx, b, func(err error) { done <- err })
	return <-done
}

// asker sends the requests of rounds to all targets.
type asker struct {
	targets []target
	now     func() time.Time
	metrics *metrics
	size    int // of a request, in events
	// aside says that events are sent aside while a breaker is not closed.
	aside    bool
	breakers *breaker.Set
}

// target is one that is asked: those who listen on a subject, or a server.
type target interface {
	// start makes it ready. ctx does not end before stop is called.
	start(ctx context.Context) error
	// prepare is called before the round may end, and ask queues it then.
	prepare(r *round)
	ask(r *round)
	stop()
	// gate is the breaker of the target; nil = it has none.
	gate() *breaker.Breaker
}

func (a *asker) start(ctx context.Context) error {
	for i, t := range a.targets {
		if err := t.start(ctx); err != nil {
			for _, started := range a.targets[:i] {
				started.stop()
			}
			return err
		}
	}
	return nil
}

func (a *asker) stop() {
	for _, t := range a.targets {
		t.stop()
	}
}

func (a *asker) ask(ctx context.Context, by rules, b *stage.Batch, done func(error)) {
	if err := a.refused(b); err != nil {
		for i := range b.Events {
			b.Overflow(i, err)
		}
		done(nil)
		return
	}
	r := newRound(by, b, a.size, len(a.targets), a.now, a.metrics, done)
	if a.aside {
		r.closed = a.breakers.Closed
	}
	if len(b.Events) == 0 {
		r.end(nil)
		return
	}
	for _, t := range a.targets {
		t.prepare(r)
	}
	r.watch(ctx)
	for _, t := range a.targets {
		t.ask(r)
	}
}

// refused says why no event of b can be asked about, where events are sent aside then.
func (a *asker) refused(b *stage.Batch) error {
	if !a.aside || len(a.targets) != 1 || len(b.Events) == 0 {
		return nil
	}
	return a.targets[0].gate().Refuses((len(b.Events)+a.size-1)/a.size, b.Replayed)
}
