package stage

import (
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
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
)

// String returns the value of the metric label `outcome`.
func (v Verdict) String() string {
	return [...]string{"emitted", "filtered", "duplicate", "dead_lettered", "retried"}[v]
}

// Decision is the verdict on one event with what belongs to it.
type Decision struct {
	Verdict Verdict
	// Port is where an emitted event leaves; empty = out.
	Port string
	// Reason is the low-cardinality reason of a dead letter (the metric label): rule_failed, rule_error,
	// missing_attribute, clock_skew. The engine adds undecodable, panic, permanent_error, retries_exhausted,
	// too_large and unknown_port.
	Reason string
	// Err is the text for a person; retry and dead-letter only.
	Err error
}

// Produced is a new event that a stage made.
type Produced struct {
	Port  string
	Event *eventv1.Event
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
	// only: a backlog of the partitions of one stage is read one after another.
	Partition int

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

// Emit sends event i out through port (one of the stage's ports).
func (b *Batch) Emit(i int, port string) {
	if port == config.PortOut {
		port = ""
	}
	b.decisions[i] = Decision{Verdict: Emit, Port: port}
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

// Produce publishes a new event on port. Its id must follow from its input alone, so that
// a redelivered input produces the same event and not a second one. Two events of one call have different ids, or the same port.
//
// One message holds the event, so it must be smaller than max_payload of the NATS server (1 MiB by default). An
// insight that is larger loses its attributes and most of its evidence; any other event, and an insight that is
// larger still, becomes a dead letter (too_large). So a stage bounds what it lists.
func (b *Batch) Produce(port string, e *eventv1.Event) {
	b.produced = append(b.produced, Produced{Port: port, Event: e})
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
