package chaos

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// oracle knows what correlate and analyze must have made of ENRICHED_EVENTS: it calls fresh
// instances with what is stored there, as the contract of stage.Stage says: Process once for
// each message in stream order, Flush at whole seconds of stream time between messages. They
// live as long as the rig and are never disturbed.
type oracle struct {
	partitions int
	lanes      map[string][]*instance // by stage
	tracks     map[string]*track
	seen       map[string]bool // INSIGHTS: id and revision
}

// instance is one lane of a stage.
type instance struct {
	name    string
	lane    int
	stage   stage.Stage
	decoder *decode.Decoder
	tick    int64
	oracle  *oracle
	outputs map[string]config.Output
}

// track is one subject that one lane writes: what is expected there, and what was found.
type track struct {
	want, got []made
}

// made is one event that a stage made or passed on.
type made struct {
	sum  [sha256.Size]byte
	text string
	// tail says that the clock alone made it, after all input: the workers may still be about to.
	tail bool
}

func newOracle(r *rig.Rig) (*oracle, error) {
	o := &oracle{partitions: r.Plan().Partitions, lanes: map[string][]*instance{}, tracks: map[string]*track{}, seen: map[string]bool{}}
	for name, factory := range map[string]stage.Factory{"correlate": correlate.NewFactory(), "analyze": analyze.NewFactory()} {
		s := r.Stage(name)
		for lane := range s.Lanes {
			instanceOf, err := factory.New(stage.Settings{
				Config: &s.Config, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(), Lanes: s.Lanes,
			})
			if err != nil {
				return nil, err
			}
			o.lanes[name] = append(o.lanes[name], &instance{
				name: name, lane: lane, stage: instanceOf, decoder: decode.New(decode.Limits{}), oracle: o, outputs: s.Config.Outputs,
			})
		}
	}
	return o, nil
}

// take processes one message of ENRICHED_EVENTS.
func (o *oracle) take(ctx context.Context, subject string, h nats.Header, data []byte, meta *jetstream.MsgMetadata) error {
	partition, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil {
		return err
	}
	for _, lanes := range o.lanes {
		if err := lanes[min(partition, len(lanes)-1)].take(ctx, partition, h, data, meta); err != nil {
			return err
		}
	}
	return nil
}

func (in *instance) take(ctx context.Context, partition int, h nats.Header, data []byte, meta *jetstream.MsgMetadata) error {
	if err := in.flush(ctx, meta.Timestamp.Unix(), false); err != nil {
		return err
	}
	in.decoder.Reset()
	b := &stage.Batch{Now: meta.Timestamp, Partition: partition}
	b.Events, _ = in.decoder.Decode(nil, decode.Message{Header: h, Data: data, Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()})
	b.Reset(1)
	if err := in.stage.Process(ctx, b); err != nil {
		return err
	}
	for i := range b.Events {
		switch d := b.Decision(i); d.Verdict {
		case stage.Emit:
			e, err := b.Events[i].ToProto()
			if err != nil {
				return err
			}
			in.emit(d.Ports, e, false)
		case stage.Filter:
		default:
			return fmt.Errorf("%s: verdict %s on event %s", in.name, d.Verdict, b.Events[i].ID)
		}
	}
	in.produced(b, false)
	return nil
}

// flush lets each whole second pass up to and with until.
func (in *instance) flush(ctx context.Context, until int64, tail bool) error {
	f, ok := in.stage.(stage.Flusher)
	if !ok {
		return nil
	}
	if in.tick == 0 && !tail {
		in.tick = until
	}
	for in.tick > 0 && in.tick < until {
		in.tick++
		b := &stage.Batch{Now: time.Unix(in.tick, 0)}
		b.Reset(1)
		if err := f.Flush(ctx, b.Now, false, b); err != nil {
			return err
		}
		in.produced(b, tail)
	}
	return nil
}

func (in *instance) produced(b *stage.Batch, tail bool) {
	for _, p := range b.Produced() {
		in.emit(p.Port, p.Event, tail)
	}
}

// emit notes that e is to be stored.
func (in *instance) emit(port stage.Ports, e *eventv1.Event, tail bool) {
	out := in.outputs[max(port, stage.Out).String()]
	var key string
	m := made{tail: tail}
	if out.Format == config.FormatCloudEvent {
		key, m.sum, m.text = trackOfInsights(in.name, in.lane), sha256.Sum256(cloudevent.AppendProto(nil, e)), in.name+" insight "+e.GetId()
	} else {
		v, err := event.FromProto(e, event.Origin{})
		if err != nil {
			v.ID = err.Error()
		}
		key = out.Subject + "." + strconv.Itoa(v.PartitionOf(in.oracle.partitions))
		m.sum, m.text = digest(e), out.Stream+" "+e.GetType()+" "+e.GetId()
	}
	t := in.oracle.track(key)
	t.want = append(t.want, m)
}

func (o *oracle) track(key string) *track {
	t := o.tracks[key]
	if t == nil {
		t = &track{}
		o.tracks[key] = t
	}
	return t
}

func trackOfInsights(stage string, lane int) string {
	return "insights " + stage + " " + strconv.Itoa(lane)
}

// digest is over everything in e but when it was ingested.
func digest(e *eventv1.Event) [sha256.Size]byte {
	e = proto.CloneOf(e)
	e.IngestTimeUnixNano = 0
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		return sha256.Sum256([]byte(err.Error()))
	}
	return sha256.Sum256(b)
}

// found notes a message of CORRELATED_EVENTS or ANALYTICS_RESULTS.
func (o *oracle) found(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()})
	if len(bad) > 0 {
		return fmt.Errorf("message %d holds what is no event: %w", meta.Sequence.Stream, bad[0].Err)
	}
	t := o.track(m.Subject())
	for i := range events {
		e, err := events[i].ToProto()
		if err != nil {
			return err
		}
		t.got = append(t.got, made{sum: digest(e), text: fmt.Sprintf("%s %d: %s %s", meta.Stream, meta.Sequence.Stream, e.GetType(), e.GetId())})
	}
	return nil
}

// foundInsight notes a message of INSIGHTS, whose subject is insights.STAGE.SEVERITY.LANE.
func (o *oracle) foundInsight(m jetstream.Msg, meta *jetstream.MsgMetadata, t *tally) error {
	tokens := strings.Split(m.Subject(), ".")
	lane, err := strconv.Atoi(tokens[len(tokens)-1])
	if err != nil || len(tokens) < 4 {
		return fmt.Errorf("message %d has the subject %s", meta.Sequence.Stream, m.Subject())
	}
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()})
	if len(bad) > 0 || len(events) != 1 {
		return fmt.Errorf("message %d is no CloudEvent: %q", meta.Sequence.Stream, m.Data())
	}
	e, err := events[0].ToProto()
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%s revision %d", e.GetId(), e.GetInsight().GetRevision())
	if o.seen[id] {
		t.doubled++
		t.problem("INSIGHTS holds %s once more at %d, written by %s", id, meta.Sequence.Stream, m.Headers().Get("Millrace-Owner"))
	}
	o.seen[id] = true
	at := o.track(trackOfInsights(tokens[len(tokens)-3], lane))
	at.got = append(at.got, made{sum: sha256.Sum256(m.Data()), text: fmt.Sprintf("INSIGHTS %d: %s", meta.Sequence.Stream, id)})
	return nil
}

// compare lets the clock run up to now, and compares what is stored with what is to be stored.
func (o *oracle) compare(ctx context.Context, t *tally) error {
	now := time.Now().Unix() - 1
	for _, lanes := range o.lanes {
		for _, in := range lanes {
			if err := in.flush(ctx, now, true); err != nil {
				return err
			}
		}
	}
	for key, at := range o.tracks {
		n := 0
		for n < min(len(at.want), len(at.got)) && at.want[n].sum == at.got[n].sum {
			n++
		}
		t.derived += n
		at.want, at.got = at.want[n:], at.got[n:]
		if len(at.got) == 0 && (len(at.want) == 0 || at.want[0].tail) {
			continue
		}
		o.differ(key, at, t)
	}
	return nil
}

// differ counts by what a track differs from what it is to be, and forgets both.
func (o *oracle) differ(key string, at *track, t *tally) {
	want, got := "nothing", "nothing"
	if len(at.want) > 0 {
		want = at.want[0].text
	}
	if len(at.got) > 0 {
		got = at.got[0].text
	}
	t.problem("%s differs from a replay after %d equal events: want %s, got %s", key, t.derived, want, got)
	counts := map[[sha256.Size]byte]int{}
	for _, m := range at.want {
		counts[m.sum]++ // what the clock makes may be stored already
	}
	for _, m := range at.got {
		if counts[m.sum]--; counts[m.sum] < 0 {
			t.doubled++
			t.problem("%s: too much: %s", key, m.text)
		}
	}
	for _, m := range at.want {
		if !m.tail && counts[m.sum] > 0 {
			counts[m.sum]--
			t.lost++
			t.problem("%s: lacks: %s", key, m.text)
		}
	}
	at.want, at.got = nil, nil
}
