package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// place is where a port of a stage, or the ingress, stores.
type place struct {
	stream, filter string
	// open: whoever likes publishes there, and need not say how many events a message holds.
	open bool
}

// consumerPlace is what a consumer reads.
func consumerPlace(p *plan.Plan, c plan.Consumer) place {
	return place{stream: c.Stream, filter: c.FilterSubject, open: c.Stream == p.Ingress.Name}
}

// portPlace returns where port of stage s stores.
func portPlace(s plan.Stage, port string) (place, error) {
	out, ok := s.Config.Outputs[port]
	if !ok && port == config.PortOut && s.Config.Kind.Traits().NoOut == "" {
		return place{}, fmt.Errorf("what stage %s emits is handed over in memory, not stored: name its output in the manifest", s.Name)
	}
	if !ok {
		return place{}, fmt.Errorf("stage %s has no port %q", s.Name, port)
	}
	return place{stream: out.Stream, filter: out.Stored(s.Name)}, nil
}

// lastSequence is the stream sequence of the last message in pl; 0 when there is none.
func lastSequence(ctx context.Context, js jetstream.JetStream, pl place) (uint64, error) {
	s, err := js.Stream(ctx, pl.stream)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", pl.stream, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, pl.filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", pl.stream, err)
	}
	return m.Sequence, nil
}

// marks remembers where each stream ended when the run began; 0 for one that was not there.
type marks map[string]uint64

func markStreams(ctx context.Context, js jetstream.JetStream, p *plan.Plan) (marks, error) {
	m := marks{}
	for _, s := range p.Streams {
		st, err := js.Stream(ctx, s.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			m[s.Name] = 0
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.Name, err)
		}
		m[s.Name] = st.CachedInfo().State.LastSeq
	}
	return m, nil
}

// storedEvents counts the events of the messages behind sequence after in pl: by their headers
// alone, up to one whose sender did not set them.
func storedEvents(ctx context.Context, js jetstream.JetStream, pl place, after uint64) (int64, error) {
	var events int64
	var untold uint64
	err := scan(ctx, js, pl, after, true, func(m jetstream.Msg) error {
		if untold > 0 {
			return nil
		}
		n, told, err := toldEvents(m)
		if pl.open && !told && err == nil {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			untold = meta.Sequence.Stream
			return nil
		}
		events += n
		return err
	})
	if err != nil || untold == 0 {
		return events, err
	}
	d := decode.New(decode.Limits{})
	err = scan(ctx, js, pl, untold-1, false, func(m jetstream.Msg) error {
		n, told, err := toldEvents(m)
		if !told {
			good, bad := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
			n = int64(len(good) + len(bad))
			d.Reset()
		}
		events += n
		return err
	})
	return events, err
}

// toldEvents is the number of events of a message, one where it does not tell.
func toldEvents(m jetstream.Msg) (n int64, told bool, err error) {
	v := m.Headers().Get(frame.HeaderEvents)
	if v == "" {
		return 1, false, nil
	}
	if n, err = strconv.ParseInt(v, 10, 64); err != nil {
		return 0, true, fmt.Errorf("header %s: %w", frame.HeaderEvents, err)
	}
	return n, true, nil
}

// scan calls visit for every message behind sequence after that is stored in pl now.
func scan(ctx context.Context, js jetstream.JetStream, pl place, after uint64, headersOnly bool, visit func(jetstream.Msg) error) error {
	cons, err := js.OrderedConsumer(ctx, pl.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{pl.filter}, HeadersOnly: headersOnly,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", pl.stream, err)
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", pl.stream, err)
	}
	for left := info.NumPending; left > 0; {
		batch, err := cons.Fetch(int(min(left, 512)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return fmt.Errorf("read %s: %w", pl.stream, err)
		}
		got := uint64(0)
		for m := range batch.Messages() {
			if err := visit(m); err != nil {
				return fmt.Errorf("message %s of %s: %w", m.Subject(), pl.stream, err)
			}
			got++
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("read %s: %w", pl.stream, err)
		}
		if got == 0 {
			return fmt.Errorf("read %s: %d messages did not come within 5s", pl.stream, left)
		}
		left -= min(got, left)
	}
	return nil
}

// ledger compares, port by port, what is stored with what the stages say, and what each
// stage took in with what was stored for it.
type ledger struct {
	plan   *plan.Plan
	report *Report
	// after are the marks of the beginning.
	after marks
	// before and left are the events that each stage had not acknowledged when the run began,
	// and has not now. It may have stored what came of them.
	before, left map[string]int64
	// skipped is what a stage says an earlier run had stored, by stage and port.
	skipped map[string]map[string]int64
	// open: others than this run may publish on the ingress.
	open bool

	stored  map[string]int64 // by port
	expired map[string]bool  // streams that have lost messages of this run to their age
}

func (l *ledger) fill(ctx context.Context, js jetstream.JetStream) error {
	if err := l.count(ctx, js); err != nil {
		return err
	}
	if l.open {
		l.report.EventsIn = l.stored["ingress"]
	}
	l.add("ingress: stored", l.report.EventsIn, l.stored["ingress"], l.plan.Ingress.Name)
	for _, s := range l.plan.Stages {
		did := l.report.Stages[s.Name]
		var inputs []string
		for _, in := range s.Config.Inputs {
			inputs = append(inputs, in.Stream)
		}
		l.add(s.Name+": in", l.given(s), did.In, inputs...)
		for _, port := range slices.Sorted(maps.Keys(s.Config.Outputs)) {
			out, name := s.Config.Outputs[port], s.Name+"/"+port
			// An earlier run may have stored it, also where it left no input: a state that is built
			// again is flushed again. Where nothing was stored, an output that was skipped is lost.
			skipped := l.skipped[s.Name][port]
			if l.after[out.Stream] == 0 {
				skipped = 0
			}
			l.add(name+": stored", did.sentTo(port)-skipped, l.stored[name], out.Stream)
		}
		l.add(s.Name+": accounted for", did.In, did.Emitted+did.Filtered+did.Duplicates+did.Kept+did.DeadLettered+did.Overflowed)
	}
	return nil
}

// add compares two numbers that were read from these streams.
func (l *ledger) add(what string, expected, actual int64, streams ...string) {
	expired := slices.ContainsFunc(streams, func(s string) bool { return l.expired[s] })
	l.report.addLine(LedgerLine{What: what, Expected: expected, Actual: actual, Expired: expired})
}

// given is the number of events that a stage must have taken in.
func (l *ledger) given(s plan.Stage) int64 {
	if s.Head != "" { // in memory, all of it
		source, _, _ := strings.Cut(s.Config.Inputs[0].From, "/")
		return l.report.Stages[source].Out
	}
	fresh := int64(0)
	for _, in := range s.Config.Inputs {
		fresh += l.stored[config.PortName(in.From)]
	}
	// Of what an earlier run left, and of what this one leaves, only bounds are known.
	return max(fresh-l.left[s.Name], min(l.report.Stages[s.Name].In, fresh+l.before[s.Name]))
}

// count counts what this run stored on every port.
func (l *ledger) count(ctx context.Context, js jetstream.JetStream) (err error) {
	l.stored = map[string]int64{}
	ingress := place{stream: l.plan.Ingress.Name, filter: ">", open: true}
	if l.stored["ingress"], err = storedEvents(ctx, js, ingress, l.after[ingress.stream]); err != nil {
		return err
	}
	for _, s := range l.plan.Stages {
		for port := range s.Config.Outputs {
			pl, err := portPlace(s, port)
			if err != nil {
				return err
			}
			if l.stored[s.Name+"/"+port], err = storedEvents(ctx, js, pl, l.after[pl.stream]); err != nil {
				return err
			}
		}
	}
	// Behind the count: what expires in the middle of it is seen.
	l.expired = map[string]bool{}
	for name, after := range l.after {
		st, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		l.expired[name] = st.CachedInfo().State.FirstSeq > after+1
	}
	return nil
}

// sentTo is the number of events that the stage says it stored on port.
func (s StageReport) sentTo(port string) int64 {
	switch port {
	case config.PortOut:
		return s.Out
	case config.PortDeadLetter:
		return s.DeadLettered + s.Produced[port] // received events, and new ones that were too large
	default:
		return s.Ports[port]
	}
}
