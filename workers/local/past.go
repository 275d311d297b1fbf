package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/engine/stored"
)

// PastOptions choose what a stream has stored before as the input of a run.
type PastOptions struct {
	// NATS is the server that has it; an empty URL means another input.
	NATS config.NATS
	// Stream is the name of the stream; empty = that of the ingress of the manifest.
	Stream string
	// Since and Until are times at which messages were stored.
	Since, Until time.Time
	// Sinks has sinks write. Without it they do not run: their targets are those of the pipeline that runs.
	Sinks bool
}

// Span is the time of a stream that a run was about.
type Span struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// past is a run on what a stream has stored.
type past struct {
	PastOptions
	client  *stored.Client
	subject string // of the ingress, below which messages stay where they were
	trial   *Trial
}

// runPast runs a pipeline on what the ingress of another one has stored, in stream time: what was stored a minute apart there is a minute apart here.
// It reads by direct gets: nothing of the other pipeline is touched.
func runPast(ctx context.Context, o Options, env Environment, p *plan.Plan) (*Report, []string, []*eventv1.Event, error) {
	reading, refused := context.WithCancelCause(ctx)
	defer refused(nil)
	conn, err := connect.NATS(o.Past.NATS.URL, connect.Login{
		Load:           func() (connect.Material, error) { return connect.Files(o.Past.NATS) },
		HandshakeFirst: o.Past.NATS.TLSHandshakeFirst,
	}, nats.Name("millrace-run"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused(err) }))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("--from-stream: %w", err)
	}
	defer conn.Close()
	subject, _ := cutLast(p.Ingress.Subjects[0])
	run := &past{PastOptions: o.Past, client: &stored.Client{Conn: conn, Domain: o.Past.NATS.JetStreamDomain}, subject: subject}
	run.Stream = cmp.Or(run.Stream, p.Ingress.Name)
	begin, err := run.begin(reading)
	if err != nil {
		if cause := context.Cause(reading); cause != nil { // the server says at once what the answer would have waited for
			err = cause
		}
		return nil, nil, nil, fmt.Errorf("--from-stream: %w", err)
	}
	p, without := forPast(p, o.Past.Sinks)
	if len(without) > 0 {
		fmt.Fprintf(env.Progress, "without %s: a sink writes with --write-sinks only\n", strings.Join(without, ", "))
	}
	run.trial, err = OpenTrial(ctx, &TrialOptions{
		Plan: p, Start: begin, SecretFiles: o.SecretFiles, ModelFiles: o.modelFiles, Outputs: o.Outputs, Open: true, Registry: env.Registry, Log: env.Log,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	report, insights, err := run.run(ctx, env)
	if closed := run.trial.Close(ctx); err == nil {
		err = closed
	}
	if err != nil {
		return nil, nil, nil, err
	}
	report.Past = &Span{Since: begin, Until: run.trial.Now()}
	report.LatencyP50, report.LatencyP99 = 0, 0
	for name, s := range report.Stages {
		s.P50, s.P99 = 0, 0
		report.Stages[name] = s
	}
	return report, run.trial.order(), insights, nil
}

// forPast is a plan whose streams hold all that there is, without sinks if they are not to write. without names those.
func forPast(p *plan.Plan, sinks bool) (_ *plan.Plan, without []string) {
	own := *p
	own.Streams = slices.Clone(p.Streams)
	for i := range own.Streams {
		own.Streams[i].MaxBytes, own.Streams[i].MaxAge = -1, 0
	}
	own.Stages = nil
	for _, s := range p.Stages {
		if s.Config.Kind == config.KindSink && !sinks {
			without = append(without, s.Name)
			continue
		}
		own.Stages = append(own.Stages, s)
	}
	return &own, without
}

// errReached ends the reading of a stream at Until.
var errReached = errors.New("that is all")

// begin is when the first message was stored, to the second.
func (p *past) begin(ctx context.Context) (at time.Time, err error) {
	err = p.page(ctx, map[string]any{"start_time": p.Since, "batch": 1}, func(_ *nats.Msg, _ uint64, stored time.Time) error {
		at = stored.Truncate(time.Second)
		return nil
	})
	if at.IsZero() && (err == nil || errors.Is(err, errReached)) {
		return at, fmt.Errorf("stream %s holds nothing that was stored between %s and %s", p.Stream, p.Since.UTC().Format(time.RFC3339), p.Until.UTC().Format(time.RFC3339))
	}
	return at, err
}

// page reads the messages of one request, and ends with errReached where they are later than Until.
func (p *past) page(ctx context.Context, request map[string]any, visit func(m *nats.Msg, seq uint64, stored time.Time) error) error {
	return p.client.Direct(ctx, p.Stream, request, func(m *nats.Msg) error {
		seq, at, err := stored.Place(m)
		switch {
		case err != nil:
			return err
		case at.After(p.Until):
			return errReached
		}
		return visit(m, seq, at)
	})
}

// run publishes all messages at their times.
func (p *past) run(ctx context.Context, env Environment) (*Report, []*eventv1.Event, error) {
	view, stop := context.WithCancel(ctx)
	drawn := make(chan struct{})
	progress := p.trial.progress()
	progress.w, progress.terminal = env.Progress, env.Terminal
	go func() { defer close(drawn); progress.run(view) }()
	defer func() { stop(); <-drawn }()

	err := p.publish(ctx)
	whole := context.WithoutCancel(ctx)
	switch {
	case err == nil:
		err = p.trial.Advance(ctx, p.Until.Sub(p.trial.Now()))
	case ctx.Err() != nil: // what was read is processed and reported
		err = p.trial.Settle(whole)
	}
	if err != nil && ctx.Err() == nil {
		return nil, nil, err
	}
	p.trial.ended = time.Now()
	for _, w := range p.trial.outputs {
		if err := w.finish(whole); err != nil {
			return nil, nil, err
		}
	}
	return p.trial.settle(whole)
}

// publish publishes all messages until Until, each second once the one before is processed.
func (p *past) publish(ctx context.Context) error {
	request := map[string]any{"start_time": p.Since}
	for {
		type message struct {
			at time.Time
			m  *nats.Msg
		}
		var all []message // of one answer: what the stages take for them is not the server's time
		var last uint64
		request["batch"], request["max_bytes"] = stored.Batch, stored.Bytes
		err := p.page(ctx, request, func(m *nats.Msg, seq uint64, at time.Time) error {
			last = seq
			all = append(all, message{at, p.message(m)})
			return nil
		})
		if err != nil && !errors.Is(err, errReached) {
			return err
		}
		for _, m := range all {
			if err := p.at(ctx, m.at, m.m); err != nil {
				return err
			}
		}
		if err != nil || last == 0 {
			return p.trial.Settle(ctx)
		}
		request = map[string]any{"seq": last + 1}
	}
}

// at publishes a message at its second.
func (p *past) at(ctx context.Context, at time.Time, m *nats.Msg) error {
	if ahead := at.Truncate(time.Second).Sub(p.trial.Now()); ahead > 0 {
		if err := p.trial.Settle(ctx); err != nil {
			return err
		}
		if err := p.trial.Advance(ctx, ahead); err != nil {
			return err
		}
	}
	return p.trial.forward(ctx, m)
}

// message is a message as it was published.
func (p *past) message(m *nats.Msg) *nats.Msg {
	subject := m.Header.Get("Nats-Subject")
	if subject != p.subject && !strings.HasPrefix(subject, p.subject+".") {
		subject = p.subject + ".past"
	}
	out := nats.NewMsg(subject)
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") {
			out.Header[name] = values
		}
	}
	out.Data = m.Data
	return out
}
