package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/rig"
)

// kinds is a rig with a stage of every kind, a responder, and the targets of the sinks.
type kinds struct {
	*world
	columns  []*column
	pipeline *v1alpha1.Pipeline // as the manifest has it
	// filed is the file of one sink, and archive the server of the other.
	filed     string
	archive   *natsserver.Server
	archiveJS jetstream.JetStream
	responder *nats.Conn

	// edition is the one that each stage has now, and segments what was published so far.
	edition   map[string]int
	segments  []*segment
	published int
	// compared is the end of the last report of compare that was counted.
	compared time.Time
}

// comes has a responder answer each question with the number of the event.
func (k *kinds) comes() error {
	var err error
	if k.responder, err = k.Server().Connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		return err
	}
	_, err = k.responder.QueueSubscribe("models.kinds", "group", func(m *nats.Msg) {
		var e struct{ ID string }
		if json.Unmarshal(m.Data, &e) == nil {
			_ = m.Respond(fmt.Appendf(nil, `{"attributes": {"answer": %s}}`, e.ID))
		}
	})
	return errors.Join(err, k.responder.FlushTimeout(10*time.Second))
}

// perKindsMessage is how many events a message has.
const perKindsMessage = 10

// publishUntil publishes events at a rate until stop is closed, in order: each message until it is confirmed.
func (k *kinds) publishUntil(ctx context.Context, rate int, stop <-chan struct{}) error {
	began, first := time.Now(), k.published
	for {
		due := began.Add(time.Duration(k.published-first) * time.Second / time.Duration(rate))
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(due)):
		}
		if err := k.publishOne(ctx); err != nil {
			return err
		}
	}
}

func (k *kinds) publishOne(ctx context.Context) error {
	var lines strings.Builder
	for n := k.published; n < k.published+perKindsMessage; n++ {
		fmt.Fprintf(&lines, `{"id":"%d","source":"kinds","type":"app.log","subject":%q,"severitynumber":%d,"body":"event %d of many"}`+"\n", n, keyOf(n), severity(n), n)
	}
	for {
		m := nats.NewMsg("default.kinds.raw.x")
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Header.Set(jetstream.MsgIDHeader, strconv.Itoa(k.published))
		m.Data = []byte(lines.String())
		try, cancel := context.WithTimeout(ctx, patience)
		_, err := k.JetStream().PublishMsg(try, m, jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			k.published += perKindsMessage
			return nil
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("publish event %d: %w", k.published, err)
		}
	}
}

// run publishes while a fault does its work, and once more by the settings that all stages have then. It returns what the ledger says of each
// column. last says that no run follows: then compare has to report on everything.
func (k *kinds) run(ctx context.Context, f *kindsFault, last bool) (map[string]*tally, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	first := len(k.segments)
	k.begin()
	done := make(chan struct{})
	both, stop := errgroup.WithContext(ctx)
	both.Go(func() error { return k.publishUntil(stop, f.rate, done) })
	both.Go(func() error {
		defer close(done)
		return errors.Join(f.inject(stop, k), k.awake(stop))
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	stuck := k.settle(ctx)
	if stuck == nil {
		// What comes now is handled as the settings say that all stages have by now.
		k.begin()
		for k.published-k.segments[len(k.segments)-1].from < 200 && stuck == nil {
			stuck = k.publishOne(ctx)
		}
		stuck = errors.Join(stuck, k.settle(ctx))
	}
	k.end()
	look, stopLook := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stopLook()
	l, err := k.whole(look, last)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	tallies := k.balance(l, k.segments[first:], k.compared, last)
	if reports := l.compared.reports; len(reports) > 0 {
		k.compared = reports[len(reports)-1].until
	}
	if stuck != nil {
		tallies[k.columns[0].name].problem("stuck: %s", stuck)
	}
	return tallies, nil
}

// begin begins a segment: from now on events may be handled by the editions that stages have.
func (k *kinds) begin() {
	k.end()
	s := &segment{from: k.published, editions: map[string][]int{}}
	for _, c := range k.columns {
		s.editions[c.stage] = []int{k.edition[c.stage]}
	}
	k.segments = append(k.segments, s)
}

func (k *kinds) end() {
	if n := len(k.segments); n > 0 {
		k.segments[n-1].to = k.published
	}
}

// settle waits until all that was published is behind all stages.
func (k *kinds) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	return k.WaitDrained(ctx)
}

// whole reads everything, until each barrier of the join has ended; if all, until compare has reported on everything, too.
func (k *kinds) whole(ctx context.Context, all bool) (*kindsLedger, error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		l, err := k.readKinds(ctx)
		if err != nil {
			return nil, err
		}
		if len(l.book("joined").seen) >= k.published && (!all || l.compared.covered()) || time.Now().After(deadline) {
			return l, nil
		}
		if err := wait(ctx, 300*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// balance counts what the ledger says of segments, by the name of the column.
func (k *kinds) balance(l *kindsLedger, segments []*segment, compared time.Time, all bool) map[string]*tally {
	tallies := map[string]*tally{}
	for _, b := range l.books {
		t := &tally{}
		tallies[b.name] = t
		if b.marks == nil {
			l.compared.balance(compared, all, t)
			continue
		}
		for _, text := range b.strange {
			t.problem("%s: %s", b.name, text)
		}
		for _, s := range segments {
			l.balance(b, s, t)
		}
	}
	return tallies
}

// put writes the settings of an edition for the workers of a stage, which take them up when they look or start.
func (k *kinds) put(c *column, edition int) error {
	k.edition[c.stage] = edition
	s := k.segments[len(k.segments)-1]
	if !slices.Contains(s.editions[c.stage], edition) {
		s.editions[c.stage] = append(s.editions[c.stage], edition)
	}
	p := k.pipeline.DeepCopy()
	for i := range p.Spec.Stages {
		if p.Spec.Stages[i].Name == c.stage {
			c.change(&p.Spec.Stages[i].StageNode, edition)
		}
	}
	planned, refusals := plan.Compute(plan.Input{Pipeline: p, DefaultNATSURL: k.URL()})
	if len(refusals) > 0 {
		return refusals.ToAggregate()
	}
	i := slices.IndexFunc(planned.Stages, func(s plan.Stage) bool { return s.Name == c.stage })
	data, err := planned.Stages[i].Config.Encode()
	if err != nil {
		return err
	}
	file := k.ConfigFile(c.stage)
	return errors.Join(os.WriteFile(file+".new", data, 0o600), os.Rename(file+".new", file))
}

// another is an edition that the stage does not have now.
func (k *kinds) another(c *column) int {
	return (k.edition[c.stage] + 1 + k.r.IntN(editions-1)) % editions
}

// reloads are how often running workers of a stage have taken up other settings.
func (k *kinds) reloads(ctx context.Context, stage string) (map[*rig.Worker]float64, error) {
	all := map[*rig.Worker]float64{}
	for _, w := range k.Running(stage) {
		metrics, err := w.Metrics(ctx)
		if err != nil {
			return nil, err
		}
		if metrics.Sum("millrace_worker_config_reloads_total", "result", "refused") > 0 {
			return nil, fmt.Errorf("%s refuses its config: %s", w.Name(), w.LogTail(2000))
		}
		all[w] = metrics.Sum("millrace_worker_config_reloads_total", "result", "applied")
	}
	return all, nil
}

// changeAll gives all stages other settings, and waits until their workers have them.
func (k *kinds) changeAll(ctx context.Context) error {
	before := map[*rig.Worker]float64{}
	for _, c := range k.columns {
		if c.change == nil {
			continue
		}
		if err := k.ready(ctx, c.stage); err != nil {
			return err
		}
		if !c.rolled {
			now, err := k.reloads(ctx, c.stage)
			if err != nil {
				return err
			}
			maps.Copy(before, now)
		}
		if err := k.put(c, k.another(c)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for _, c := range k.columns {
		if !c.rolled {
			continue
		}
		if err := k.roll(ctx, c.stage); err != nil {
			return err
		}
	}
	for w, n := range before {
		for {
			now, err := k.reloads(ctx, w.Stage())
			if err != nil {
				return err
			}
			if now[w] > n {
				break
			}
			if err := wait(ctx, 50*time.Millisecond); err != nil {
				return fmt.Errorf("%s does not take up its config: %w", w.Name(), err)
			}
		}
	}
	return nil
}

// ready waits until all workers of a stage are.
func (k *kinds) ready(ctx context.Context, stage string) error {
	for _, w := range k.Running(stage) {
		if err := w.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awake has each stage have one worker, which is ready.
func (k *kinds) awake(ctx context.Context) error {
	for _, c := range k.columns {
		if err := k.scale(ctx, c.stage, 1); err != nil {
			return err
		}
	}
	return nil
}
