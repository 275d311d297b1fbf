package stage

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// Verdict is what becomes of one event.
type Verdict uint8

// The verdicts. The zero value emits: what nobody decided about goes on.
const (
	// Emit publishes the event on its port (default: out).
	Emit Verdict = iota
	// Filter ends the event here on purpose: it is counted and acknowledged.
	Filter
	// Duplicate ends the event here because it was seen before.
	Duplicate
	// DeadLetter publishes the event, as received, on port dead-letter with a reason.
	DeadLetter
	// Retry processes the event again after a back-off, up to the stage's attempts, then
	// dead-letters it.
	Retry
	// Keep ends the event here: the stage keeps it outside of the pipeline (Sink).
	Keep
	// Overflow sends the event, as received, to port overflow, from where it comes again (Batch.Replayed). Where it comes from there, or
	// there is no such port, the lane waits and has it processed again, as for Unavailable.
	Overflow
)

// String returns the value of the metric label `outcome`.
func (v Verdict) String() string {
	return [...]string{"emitted", "filtered", "duplicate", "dead_lettered", "retried", "kept", "overflowed"}[v]
}

// Decision is the verdict on one event with what belongs to it.
type Decision struct {
	Verdict Verdict
	// Ports are where an emitted event leaves; empty = out.
	Ports Ports
	// Reason is the low-cardinality reason of a dead letter (the metric label): rule_failed, rule_error,
	// missing_attribute, clock_skew. The engine adds undecodable, panic, permanent_error, retries_exhausted,
	// too_large and unknown_port.
	Reason string
	// Err is the text for a person; retry and dead-letter only.
	Err error
	// Row is what a Sink keeps of the event.
	Row any
}

// Ports is a set of ports of one stage. Settings.Port returns the set of one port; the union of two is a | b.
type Ports uint64

// The ports whose numbers are the same in all stages (StageConfig.Ports); Settings.Port knows the others. Every stage has port out,
// and those that find something have insights.
const (
	Out      Ports = 1 << 0
	Insights Ports = 1 << 2
)

// Numbers yields the numbers of the ports in the set, which index StageConfig.Ports.
func (p Ports) Numbers(yield func(int) bool) {
	for ; p != 0; p &= p - 1 {
		if !yield(bits.TrailingZeros64(uint64(p))) {
			return
		}
	}
}

// String names the ports whose numbers are the same in all stages, and gives the numbers of others.
func (p Ports) String() string {
	var names []string
	for i := range p.Numbers {
		switch Ports(1) << i {
		case Out:
			names = append(names, "out")
		case Insights:
			names = append(names, "insights")
		default:
			names = append(names, strconv.Itoa(i))
		}
	}
	return strings.Join(names, "+")
}

// NoParent is the parent of a new event that is made of no single one.
const NoParent = -1

// Produced is a new event that a stage made.
type Produced struct {
	// Parent is the event of the batch that it was made of, or NoParent.
	Parent int
	// Port is the one port where it leaves.
	Port  Ports
	Event *eventv1.Event
	// Encoded is the event where Event is nil: see ProduceEncoded.
	Encoded []byte
	// Reason and Err are those of a dead letter; empty = it is none.
	Reason string
	Err    error
}

// Batch is what one call of Process sees.
type Batch struct {
	// Events are the decoded events, in stream order.
	Events []event.Event
	// Attempt is 1 when these events are processed for the first time.
	Attempt int
	// Now is the stream time: when the input stream stored the message that these events came
	// in (of events that came one by one to a stage without state: that of the first of them, at most
	// 100 ms before the others'). It is the clock of a stateful stage: on a replay of the input it is the same. It may
	// go back a little where a stage without state has several inputs, or a server's clock was set.
	Now time.Time
	// Partition is the partition that the message of these events is of; -1 when it is of none that is
	// known: at the ingress, and in a batch of several messages. Order is kept inside a partition
	// only: a backlog of the partitions of one stage is read one after another. Where the lanes of the stage before
	// write to all partitions (config.Output.Repartition), each pair of partition and lane has a number of its own.
	Partition int
	// Newest is a time of the ingress: no event of the batch came of a message that the ingress stored later. Zero = unknown. Only the first stage of a
	// worker knows it, where its inputs carry watermarks (Watermarked).
	Newest time.Time
	// Replayed says that the events were sent aside before (Overflow). They are the ones to try with whether what the stage calls is back: the
	// lane that they come in may wait.
	Replayed bool

	decisions []Decision
	produced  []Produced
	late      int64
}

// maxKept is how many new events a batch that is used again has room for.
const maxKept = 8192

// Reset makes b ready for n events that are in b.Events already.
func (b *Batch) Reset(attempt int) {
	n := len(b.Events)
	if cap(b.decisions) < n {
		b.decisions = make([]Decision, n)
	}
	b.decisions = b.decisions[:n]
	clear(b.decisions)
	clear(b.produced)
	if b.produced = b.produced[:0]; cap(b.produced) > maxKept {
		b.produced = nil // what one unusual batch made is not held for ever
	}
	b.late = 0
	b.Attempt = attempt
}

// Emit sends event i out through ports, once through each. Either it is stored on all of them or, after a crash, on those that the
// stage decides on then.
func (b *Batch) Emit(i int, ports Ports) {
	b.decisions[i] = Decision{Verdict: Emit, Ports: ports}
}

// Filter ends event i here on purpose.
func (b *Batch) Filter(i int) { b.decisions[i] = Decision{Verdict: Filter} }

// Duplicate ends event i here because it was seen before.
func (b *Batch) Duplicate(i int) { b.decisions[i] = Decision{Verdict: Duplicate} }

// DeadLetter sends event i, as received, to the dead letters. reason has low cardinality;
// err is the text for a person.
func (b *Batch) DeadLetter(i int, reason string, err error) {
	b.decisions[i] = Decision{Verdict: DeadLetter, Reason: reason, Err: err}
}

// Retry has event i processed again later. An err that is Unavailable counts no attempt.
func (b *Batch) Retry(i int, err error) { b.decisions[i] = Decision{Verdict: Retry, Err: err} }

// Overflow sends event i aside until what the stage calls is back. err says what is away. Events of its key that come later follow it there, whatever
// the stage decides about them.
func (b *Batch) Overflow(i int, err error) { b.decisions[i] = Decision{Verdict: Overflow, Err: err} }

// Keep ends event i here. A Sink is given row to store: nothing of it may be memory of the event. Any other stage has kept the event already,
// and row is nil.
func (b *Batch) Keep(i int, row any) { b.decisions[i] = Decision{Verdict: Keep, Row: row} }

// Produce publishes a new event on one port; 0 is out. It was made of event parent of the batch: it leaves right behind that one, before the next
// event of the batch, and not at all when the verdict on that one is Retry. With NoParent, as in a Flush, it leaves behind the whole batch.
// Its id must follow from its input alone, so that
// a redelivered input produces the same event and not a second one. Two events of one call have different ids, or the same port.
//
// One message holds the event, so it must be smaller than max_payload of the NATS server (1 MiB by default). An
// insight that is larger loses its attributes and most of its evidence; any other event, and an insight that is
// larger still, becomes a dead letter (too_large). So a stage bounds what it lists.
func (b *Batch) Produce(parent int, port Ports, e *eventv1.Event) {
	b.produced = append(b.produced, Produced{Parent: parent, Port: port, Event: e})
}

// ProduceEncoded is Produce for an event that is encoded already, as event.Event.AppendProto does it. The batch keeps the bytes.
func (b *Batch) ProduceEncoded(parent int, port Ports, encoded []byte) {
	b.produced = append(b.produced, Produced{Parent: parent, Port: port, Encoded: encoded})
}

// Message is the event in its decoded form.
func (p *Produced) Message() (*eventv1.Event, error) {
	if p.Event != nil {
		return p.Event, nil
	}
	m := &eventv1.Event{}
	if err := proto.Unmarshal(p.Encoded, m); err != nil {
		return nil, fmt.Errorf("decode an event that a stage made: %w", err)
	}
	return m, nil
}

// ProduceDeadLetter sends a new event, of no single parent, to the dead letters: what a stage with state holds and cannot complete. reason and
// err are as in DeadLetter.
func (b *Batch) ProduceDeadLetter(e *eventv1.Event, reason string, err error) {
	b.produced = append(b.produced, Produced{Parent: NoParent, Event: e, Reason: reason, Err: err})
}

// TooLate counts an event that came too late for what the stage has closed by event time. The engine
// shows the count in stats, metrics, the log and the report. It changes no verdict.
func (b *Batch) TooLate() { b.late++ }

// Late returns how many events came too late.
func (b *Batch) Late() int64 { return b.late }

// Decision returns the verdict on event i.
func (b *Batch) Decision(i int) Decision { return b.decisions[i] }

// Produced returns the events that the stage made.
func (b *Batch) Produced() []Produced { return b.produced }
