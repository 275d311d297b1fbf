package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// TrialOptions are what a Trial is made of. Plan, Registry and Log are required.
type TrialOptions struct {
	Plan *plan.Plan
	// Skip are names of stages that do not run.
	Skip []string
	// Start is what the clock of the stream shows in the beginning.
	Start time.Time
	// SecretFiles is as in Options.
	SecretFiles string
	// ModelFiles is the folder of the models that stages name: DIR/<name of the ConfigMap>/<key>.
	ModelFiles string
	// Outputs are files that get what ports carry.
	Outputs []OutputFile
	// Open says that messages on the ingress need not say how many events they hold.
	Open     bool
	Registry stage.Registry
	Log      *slog.Logger
}

// trialDrain is how long stages may take to end what they have in hand when a trial is closed: it is over, and what they wait for will not come.
const trialDrain = 2 * time.Second

// Trial is a pipeline at work on an embedded server, as in a run, that a program feeds and whose clock it sets: the stages decide by that clock
// (stage.Batch.Now, Flush), everything that waits for an answer by the wall clock. One goroutine may use it.
type Trial struct {
	*runner

	srv     *server.Server
	clock   *streamClock
	now     time.Time
	group   *errgroup.Group
	work    context.Context //nolint:containedctx // in which the engines work
	stop    context.CancelFunc
	release func()
}

// OpenTrial starts the stages. End it with Close.
func OpenTrial(ctx context.Context, o *TrialOptions) (_ *Trial, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := *o.Plan
	p.Stages = slices.Clone(p.Stages)
	for i := range p.Stages {
		s := &p.Stages[i]
		s.Suspended = s.Suspended || slices.Contains(o.Skip, s.Name) || slices.Contains(o.Skip, s.Head)
		s.Config.DrainTimeout = config.Duration(trialDrain)
	}
	dir, release, err := storeDir("")
	if err != nil {
		return nil, err
	}
	srv, err := startServer(dir, "", false, o.Log)
	if err != nil {
		release()
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	t := &Trial{srv: srv, release: release, clock: newStreamClock(time.Now(), o.Start), now: o.Start}
	t.runner, err = newRunner(ctx, Options{SecretFiles: o.SecretFiles, modelFiles: o.ModelFiles, Outputs: o.Outputs, open: o.Open}, Environment{Log: o.Log, Registry: o.Registry, StreamTime: t.clock.at}, &p, srv)
	if err != nil {
		stopServer(ctx, srv)
		release()
		return nil, err
	}
	work, stop := context.WithCancel(ctx)
	t.group, t.work = errgroup.WithContext(work)
	t.stop = stop
	t.start(t.work, t.group) //nolint:contextcheck // Close ends the stages
	return t, nil
}

// Close ends the stages without a last flush, and the server.
func (t *Trial) Close(ctx context.Context) error {
	t.stop()
	err := t.group.Wait()
	t.close()
	stopServer(context.WithoutCancel(ctx), t.srv)
	t.release()
	return err
}

// InProcessConn is a connection to the server, for those who look at what it stores (controllers/view).
func (t *Trial) InProcessConn() (net.Conn, error) { return t.srv.InProcessConn() }

// Now is what the clock of the stream shows.
func (t *Trial) Now() time.Time { return t.now }

// Publish publishes a message on the ingress, below its subject, as a collector would.
func (t *Trial) Publish(ctx context.Context, below string, data []byte) error {
	subject, _ := cutLast(t.plan.Ingress.Subjects[0])
	return t.forward(ctx, &nats.Msg{Subject: subject + "." + below, Data: data})
}

// forward publishes a message on the ingress.
func (t *Trial) forward(ctx context.Context, m *nats.Msg) error {
	if _, err := t.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish on the ingress: %w", err)
	}
	return nil
}

// Put stores an event, in any accepted form, on a port of a stage that is skipped, as the stage would. What is no event is an error.
func (t *Trial) Put(ctx context.Context, stageName, port string, data []byte) error {
	i := slices.IndexFunc(t.plan.Stages, func(s plan.Stage) bool { return s.Name == stageName })
	if i < 0 {
		return fmt.Errorf("the pipeline has no stage %q", stageName)
	}
	if _, err := portPlace(t.plan.Stages[i], port); err != nil {
		return err
	}
	out := t.plan.Stages[i].Config.Outputs[port]
	if out.Format != config.FormatFrame {
		return fmt.Errorf("port %s of stage %s does not carry events in frames: a test cannot write there", port, stageName)
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: data, Time: t.clock.at(time.Now()).UnixNano()})
	if len(bad) > 0 {
		return bad[0].Err
	}
	for k := range events {
		e := &events[k]
		partition := e.PartitionOf(t.plan.Partitions)
		w := frame.Writer{Hints: true}
		w.Begin(frame.Header{Partition: uint32(partition)})
		w.Add(e)
		msg := nats.NewMsg(out.Subject + "." + strconv.Itoa(partition))
		if out.Repartition {
			msg.Subject += ".0"
		}
		msg.Header.Set(event.HeaderContentType, event.ContentTypeFrame)
		msg.Header.Set(frame.HeaderEvents, "1")
		msg.Data = w.AppendTo(nil)
		if _, err := t.js.PublishMsg(ctx, msg); err != nil {
			return fmt.Errorf("publish on %s/%s: %w", stageName, port, err)
		}
	}
	return nil
}

// Settle waits until the stages have processed all that is stored, and what is due by the clock has happened.
func (t *Trial) Settle(ctx context.Context) error { return t.pass(ctx, true) }

// An hour is taken second by second, since what one stage makes at a tick another one may close a window by; what is longer minute by minute.
const (
	fineSteps  = 3600
	fineStep   = time.Second
	coarseStep = time.Minute
)

// Advance moves the clock on: whatever is due until then happens, in the order of time. Settle comes before.
func (t *Trial) Advance(ctx context.Context, d time.Duration) error {
	until := t.now.Add(d)
	for i := 0; t.now.Before(until); i++ {
		step := fineStep
		if i >= fineSteps {
			step = coarseStep
		}
		next := t.now.Add(step)
		if next.After(until) {
			next = until
		}
		t.now = t.clock.jump(time.Now(), next)
		if err := t.pass(ctx, false); err != nil {
			return err
		}
	}
	return t.Settle(ctx)
}

// pass flushes the stages up to now, in the order of the graph. Once one of them has made something, the next ones process what is stored
// first; fed says that something is stored already.
func (t *Trial) pass(ctx context.Context, fed bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.work, cancel)() //nolint:contextcheck // that in which the stages work
	for _, s := range t.plan.Stages {
		e := t.engines[s.Name]
		if e == nil {
			continue
		}
		if err := t.passStage(ctx, s, e, &fed); err != nil {
			if t.work.Err() != nil { // a stage has failed, and ended the others
				return cmp.Or(t.group.Wait(), err)
			}
			return t.stuck(s, e, err)
		}
	}
	return nil
}

func (t *Trial) passStage(ctx context.Context, s plan.Stage, e *engine.Engine, fed *bool) error {
	if *fed {
		if err := e.WaitStarted(ctx); err != nil {
			return err
		}
		if err := t.awaitMerged(ctx, s, e); err != nil {
			return err
		}
	}
	made, err := e.FlushUntil(ctx, t.now)
	if err != nil {
		return err
	}
	if *fed = *fed || made; *fed {
		return e.WaitIdle(ctx)
	}
	return nil
}

// awaitMerged is awaitDrained for a stage that may bring several inputs into one order: there is one server, so nobody waits for clocks that differ.
func (t *Trial) awaitMerged(ctx context.Context, s plan.Stage, e *engine.Engine) error {
	if len(s.Config.Inputs) == 1 {
		return t.awaitDrained(ctx, s, e)
	}
	asking, stop := context.WithCancel(ctx)
	var asks sync.WaitGroup
	asks.Go(func() {
		tick := time.NewTicker(drainPoll / 2)
		defer tick.Stop()
		for {
			select {
			case <-asking.Done():
				return
			case <-tick.C:
				_ = e.AskQuiet(asking) // else the lane waits for the clock
			}
		}
	})
	defer asks.Wait()
	defer stop()
	return t.awaitDrained(ctx, s, e)
}

// stuck says what a stage waits for that did not come to the end.
func (t *Trial) stuck(s plan.Stage, e *engine.Engine, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	_, waits := e.Ready()
	return fmt.Errorf("stage %s has not processed all that is stored for it in time; it says: %s", s.Name, waits)
}

// Carried is what a port carries at one place.
type Carried struct {
	// JSON is the event as a structured CloudEvent, as --output writes it.
	JSON []byte
	// Event is the event; nil for a dead letter.
	Event *event.Event
}

// Ports are those of all stages that store something, as STAGE/PORT, in the order of the graph.
func (t *Trial) Ports() (names []string) {
	for _, s := range t.plan.Stages {
		for _, port := range slices.Sorted(maps.Keys(s.Config.Outputs)) {
			names = append(names, s.Name+"/"+port)
		}
	}
	return names
}

// Read returns what a port carries, in the order in which it was stored.
func (t *Trial) Read(ctx context.Context, stageName, port string) (all []Carried, err error) {
	i := slices.IndexFunc(t.plan.Stages, func(s plan.Stage) bool { return s.Name == stageName })
	if i < 0 {
		return nil, fmt.Errorf("the pipeline has no stage %q", stageName)
	}
	pl, err := portPlace(t.plan.Stages[i], port)
	if err != nil {
		return nil, err
	}
	raw := t.plan.Stages[i].Config.Outputs[port].Format == config.FormatRaw
	decoder := decode.New(decode.Limits{Hints: true}) // never reset: the events live as long as the result
	err = scan(ctx, t.js, pl, 0, false, func(m jetstream.Msg) error {
		if raw {
			line, err := deadLetterLine(m)
			all = append(all, Carried{JSON: line})
			return err
		}
		events, bad := decoder.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		if len(bad) > 0 {
			return bad[0].Err
		}
		for k := range events {
			line, err := cloudevent.Append(nil, &events[k])
			if err != nil {
				return err
			}
			all = append(all, Carried{JSON: line, Event: &events[k]})
		}
		return nil
	})
	return all, err
}
