package intake

import (
	"context"
	"errors"
	"slices"
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// Intake is what exists of the inputs of a stage.
type Intake struct {
	// Inputs are those of the newest revision, in its order.
	Inputs []Input
	// Former are inputs that the stage had, that the newest revision does not read, and of which consumers exist.
	Former []Former
}

// Input is one input of the newest revision: its lanes in their order.
type Input struct {
	Stream, Durable string
	Lanes           []Lane
}

// Lane is one consumer.
type Lane struct {
	Want plan.Consumer
	// Have is nil when the consumer does not exist. Source is then read too, and nil when the stream does not exist either.
	Have   *jetstream.Consumer
	Source *jetstream.Stream
	Lag    jetstream.Lag
}

// Former is an input that the stage had and that it is not to have any more.
type Former struct {
	Stream, Durable string
	// Consumers are those that exist and are the stage's, by name.
	Consumers map[string]Lane
	// Lanes is the number of lanes that it was read in.
	Lanes int
	// Events that are stored and not processed, and when the oldest was stored.
	Events int64
	Oldest time.Time
	// Begun: a worker has read some of it.
	Begun bool
}

// Sum adds up what consumers say: the one reading of lag, for status and for scaling.
type Sum struct {
	// Events that are stored and not processed, and when the oldest was stored.
	Events int64
	Oldest time.Time
	// Pending, AckPending, Redelivered and Acked are messages.
	Pending, AckPending, Redelivered, Acked uint64
	// measured are the messages of consumers whose events were counted.
	measured uint64
}

// Add adds a consumer; one that does not exist says nothing.
func (s *Sum) Add(lane Lane) {
	if lane.Have == nil {
		return
	}
	s.Events += lane.Lag.Events
	s.Oldest = Older(s.Oldest, lane.Lag.Oldest)
	s.Pending += lane.Have.Pending
	s.AckPending += lane.Have.AckPending
	s.Redelivered += lane.Have.Redelivered
	s.Acked += lane.Have.Acked
	if lane.Lag.PerMessage > 0 {
		s.measured += lane.Have.Pending + lane.Have.AckPending
	}
}

// PerMessage is the mean number of events in a message; 0 when there was none to look at.
func (s *Sum) PerMessage() float64 {
	if s.measured == 0 {
		return 0
	}
	return float64(s.Events) / float64(s.measured)
}

// Query says of which stage.
type Query struct {
	NATS *jetstream.Client
	// Owner marks the consumers of the stage.
	Owner   jetstream.Owner
	Stage   *v1alpha1.Stage
	History revision.History
	// All has inputs found by their consumers alone also where history and status name some; it asks for every stream of
	// the account.
	All bool
}

// Read reads them. An error is one of NATS; that something does not exist is none.
func Read(ctx context.Context, q Query) (*Intake, error) {
	in := &Intake{}
	newest := q.History.Newest()
	made := false
	if newest != nil {
		for _, want := range newest.Inputs {
			input, err := q.input(ctx, want)
			if err != nil {
				return nil, err
			}
			for _, lane := range input.Lanes {
				made = made || lane.Have != nil
			}
			in.Inputs = append(in.Inputs, input)
		}
	}
	known := q.known()
	// A stage that is new has nothing yet. One that has consumers and no status has lost it, as after a restore.
	if q.All || len(q.Stage.Status.Consumers) == 0 && newest != nil && newest.Head == "" && (made || newest.Number > 1) {
		found, err := q.find(known)
		if err != nil {
			return nil, err
		}
		known = append(known, found...)
	}
	for _, entry := range known {
		f, err := q.former(ctx, entry)
		if err != nil {
			return nil, err
		}
		if len(f.Consumers) > 0 {
			in.Former = append(in.Former, f)
		}
	}
	return in, nil
}

// input reads what exists of the lanes of one input.
func (q Query) input(ctx context.Context, want revision.Input) (Input, error) {
	in := Input{Stream: want.Stream, Durable: want.Durable}
	names := make([]string, len(want.Lanes))
	for i, c := range want.Lanes {
		names[i] = c.Durable
	}
	have, err := q.consumers(want.Stream, names)
	if err != nil {
		return in, err
	}
	var stream *jetstream.Stream
	if len(have) < len(names) {
		if stream, err = q.NATS.Stream(want.Stream); ignoreNotFound(err) != nil {
			return in, err
		}
	}
	for _, c := range want.Lanes {
		lane := Lane{Want: c, Have: have[c.Durable]}
		if lane.Have == nil {
			lane.Source = stream
		} else if lane.Lag, err = q.NATS.Lag(ctx, want.Stream, lane.Have); err != nil {
			return in, err
		}
		in.Lanes = append(in.Lanes, lane)
	}
	return in, nil
}

// known are the inputs that revisions and status tell of, and that the newest revision does not read in the same lanes.
func (q Query) known() []v1alpha1.ConsumerStatus {
	var all []v1alpha1.ConsumerStatus
	for _, r := range q.History {
		for _, in := range r.Inputs {
			all = append(all, v1alpha1.ConsumerStatus{Stream: in.Stream, Name: in.Durable, Lanes: int32(len(in.Lanes))})
		}
	}
	var known []v1alpha1.ConsumerStatus
	for _, entry := range append(all, q.Stage.Status.Consumers...) {
		if !named(known, entry) && len(q.unplanned(entry)) > 0 {
			known = append(known, entry)
		}
	}
	return known
}

// unplanned names the consumers of an input that the newest revision does not have.
func (q Query) unplanned(entry v1alpha1.ConsumerStatus) []string {
	names := Durables(entry)
	newest := q.History.Newest()
	if newest == nil {
		return names
	}
	planned := newest.Consumers()
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(planned, func(p plan.Consumer) bool { return p.Stream == entry.Stream && p.Durable == name })
	})
}

// find lists the consumers of the stage on all streams of its pipeline: the inputs that are not known.
func (q Query) find(known []v1alpha1.ConsumerStatus) (found []v1alpha1.ConsumerStatus, err error) {
	streams, err := q.NATS.StreamsOf(q.Owner)
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		names, err := q.NATS.ConsumersOf(stream.Config.Name, q.Owner)
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		for _, entry := range inputsOfDurables(stream.Config.Name, names) {
			if !named(known, entry) && len(q.unplanned(entry)) > 0 {
				found = append(found, entry)
			}
		}
	}
	return found, nil
}

// former reads the consumers of an input that the stage had, but for those that the newest revision has.
func (q Query) former(ctx context.Context, entry v1alpha1.ConsumerStatus) (Former, error) {
	f := Former{Stream: entry.Stream, Durable: entry.Name, Lanes: int(max(entry.Lanes, 1)), Consumers: map[string]Lane{}}
	names := q.unplanned(entry)
	have, err := q.consumers(entry.Stream, names)
	if err != nil {
		return f, err
	}
	for _, name := range names {
		consumer := have[name]
		if consumer == nil || !q.Owner.Owns(consumer.Config.Metadata) {
			continue
		}
		lag, err := q.NATS.Lag(ctx, entry.Stream, consumer)
		if ignoreNotFound(err) != nil {
			return f, err
		}
		f.Consumers[name] = Lane{Have: consumer, Lag: lag}
		f.Begun = f.Begun || consumer.Acked > 0 || consumer.AckPending > 0
		f.Events += lag.Events
		f.Oldest = Older(f.Oldest, lag.Oldest)
	}
	return f, nil
}

// consumers reads those that exist, by name, in one request.
func (q Query) consumers(stream string, names []string) (map[string]*jetstream.Consumer, error) {
	if len(names) == 1 {
		have := map[string]*jetstream.Consumer{}
		consumer, err := q.NATS.Consumer(stream, names[0])
		if err == nil {
			have[names[0]] = consumer
		}
		return have, ignoreNotFound(err)
	}
	found, err := q.NATS.Consumers(stream, names)
	return found, ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil
	}
	return err
}

// Older is the earlier of two times, of which zero is none.
func Older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
