package source

import (
	"cmp"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/stored"
)

// Input receives the messages of one lane from one durable consumer, in stream order.
//
// The consumer is reset to its acknowledgement floor whenever something is amiss: when the lane is
// taken over, after a reconnect, and when a message is missing, because another worker that
// thinks it owns the lane received it. What was received before is not delivered to the lane twice.
type Input struct {
	// Config and Index are those of the input in the config of the stage.
	Config config.Input
	Index  int

	conn        *nats.Conn
	js          jetstream.JetStream
	domain      config.Domain
	stored      *stored.Client
	inboxPrefix string
	laneLog     *slog.Logger
	clock       func() time.Time
	streamTime  func(time.Time) time.Time
	jitter      func() float64
	owned       func() bool
	redelivered Counter

	// consumer and filter are those of the lane.
	consumer, filter string
	next             string          // subject of pull requests
	wake             chan struct{}   // something changed that may allow a pull
	queue            chan<- *Message // of the session: what is late never gets into that of the next one
	over             <-chan struct{}
	often            bool // how often look looks

	mu          sync.Mutex
	sub         *nats.Subscription // of the present generation
	inbox       string             // where its messages arrive: <inbox>.<pull id>
	generation  int                // how often the consumer was bound to
	again       map[uint64]string  // how to acknowledge what is in hand and came again, by stream sequence
	pulls       pulls
	budget      int // bytes in hand and asked for
	maxMessages int
	inHand      Amount // received and not acknowledged
	waits       int64  // Unix nanoseconds since when something is in hand, or of the last acknowledgement
	received    uint64 // stream sequence of the last message in hand or acknowledged
	acked       uint64 // stream sequence of the last message acknowledged
	delivered   uint64 // consumer sequence of the last message; counts anew after a reset
	stateful    bool
	bound       bool
	everBound   bool
	oversize    bool // the next message is larger than what is left of the budget
	draining    bool
	problem     string // why there is no input; empty = all is well
	failures    int    // in a row
	notBefore   int64  // Unix nanoseconds of the next try
	pending     uint64 // messages in the stream behind the last one received
	stream      string // identity of the stream; another one is another stream of the same name
	heard       int64  // Unix nanoseconds of the last message
	looked      int64  // Unix nanoseconds of the last check of the consumer
	empty       int64  // Unix nanoseconds of when that check began
	quiet       int64  // the server's time of a check that found nothing to deliver, Unix nanoseconds; 0 = none did
}

// Options are what an Input is made of.
type Options struct {
	Conn   *nats.Conn
	JS     jetstream.JetStream
	Domain config.Domain
	Stored *stored.Client
	// InboxPrefix begins the subjects that the server answers on.
	InboxPrefix string
	// Config and Index are those of the input in the config of the stage, which has so many Inputs.
	Config        config.Input
	Index, Inputs int
	// Lane is the number of the lane, Lanes how many there are.
	Lane, Lanes int
	// MaxInFlightBytes is what all inputs of all lanes may have in hand.
	MaxInFlightBytes int
	Log              *slog.Logger
	Now              func() time.Time
	Jitter           func() float64
	// StreamTime turns the time at which a server stored a message into the time of the stream; nil = they are the same.
	StreamTime func(time.Time) time.Time
	// Out takes the messages, until Over is closed.
	Out  chan<- *Message
	Over <-chan struct{}
	// Stateful says that the stages know what they were given: they must not miss what somebody else has acknowledged.
	Stateful bool
	// Owned says whether the lane is this worker's, as far as it can know without asking.
	Owned func() bool
	// Redelivered counts messages that the server had delivered before.
	Redelivered Counter
}

// Counter counts, as one of Prometheus does.
type Counter interface{ Inc() }

// New makes an input that is not bound to its consumer.
func New(o *Options) *Input {
	c := o.Config
	in := &Input{
		Config: c, Index: o.Index,
		conn: o.Conn, js: o.JS, domain: o.Domain, stored: o.Stored, inboxPrefix: o.InboxPrefix, laneLog: o.Log, clock: o.Now, streamTime: o.StreamTime, jitter: o.Jitter,
		owned: o.Owned, redelivered: o.Redelivered, stateful: o.Stateful,
		wake: make(chan struct{}, 1), queue: o.Out, over: o.Over,
		consumer: c.Consumer(o.Lane, o.Lanes), filter: c.Filter(o.Lane, o.Lanes),
		pulls:       pulls{open: map[string]Amount{}},
		budget:      max(o.MaxInFlightBytes/o.Inputs/max(o.Lanes, 1), minBudget),
		maxMessages: MaxMessages,
	}
	in.problem = "not yet bound to consumer " + in.name()
	in.next = in.domain.API("CONSUMER.MSG.NEXT." + c.Stream + "." + in.consumer)
	return in
}

// MaxMessages bounds messages in hand, for inputs of tiny messages.
const MaxMessages = 8192

// minBudget is what one input of a lane may have in hand at least, in bytes.
const minBudget = 1 << 20

func (in *Input) name() string { return in.Config.Stream + "/" + in.consumer }

func (in *Input) now() int64 { return in.clock().UnixNano() }

// timeOf is the stream time of what was stored at a moment, Unix nanoseconds.
func (in *Input) timeOf(stored time.Time) int64 {
	if in.streamTime == nil {
		return stored.UnixNano()
	}
	return in.streamTime(stored).UnixNano()
}

func (in *Input) log() *slog.Logger {
	return in.laneLog.With("stream", in.Config.Stream, "consumer", in.consumer)
}

func (in *Input) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

const inputTick = 250 * time.Millisecond

// Ack acknowledges everything up to m, which was messages and bytes in hand: all that it
// caused is stored. A lost acknowledgement has it delivered again, and acknowledged again.
func (in *Input) Ack(m *Message, done Amount) {
	in.mu.Lock()
	in.waits = in.now()
	in.inHand.Messages -= done.Messages
	in.inHand.Bytes -= done.Bytes
	in.acked = max(in.acked, m.Sequence)
	var err error
	if reply := in.replyTo(m); reply != "" {
		err = in.conn.Publish(reply, ackBody())
	}
	maps.DeleteFunc(in.again, func(seq uint64, _ string) bool { return seq <= in.acked })
	in.mu.Unlock()
	if err != nil {
		in.log().Warn("acknowledgement was not sent, the message will come again", "sequence", m.Sequence, "error", err)
	}
	in.signal()
}

// replyTo is how m is acknowledged. After a reset the consumer numbers deliveries from 1, and a message that was
// received before still carries its old, higher number. If we acknowledged that number, the server would ignore every
// acknowledgement until the new numbers catch up. The message is redelivered, so we acknowledge the redelivery: here
// if it has come, else in admit.
func (in *Input) replyTo(m *Message) string {
	if m.generation == in.generation {
		return m.reply
	}
	return in.again[m.Sequence]
}

func ackBody() []byte { return []byte("+ACK") }

// Close ends the subscription.
func (in *Input) Close() {
	in.mu.Lock()
	sub := in.sub
	in.sub, in.bound, in.draining = nil, false, true
	in.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}

// State is what an input says of itself.
type State struct {
	// InHand is received and not acknowledged.
	InHand Amount
	// Since is since when something is in hand, or when the last acknowledgement was, Unix nanoseconds.
	Since int64
	// Pending is how many messages are in the stream behind the last one received.
	Pending uint64
	// Bound says that it has its consumer, EverBound that it had it once.
	Bound, EverBound bool
	// Problem says why there is no input; empty = all is well.
	Problem string
	// Quiet is until when the server had nothing more to deliver, Unix nanoseconds; 0 = unknown.
	Quiet int64
	// Empty is when the check began that found that, by the clock of the worker, Unix nanoseconds; 0 = none did.
	Empty int64
}

// State is cheap enough to ask several times a second.
func (in *Input) State() State {
	in.mu.Lock()
	defer in.mu.Unlock()
	return State{
		InHand: in.inHand, Since: in.waits, Pending: in.pending, Bound: in.bound, EverBound: in.everBound, Problem: in.problem, Quiet: in.quiet, Empty: in.empty,
	}
}

// Begin has nothing in hand, and all up to floor acknowledged.
func (in *Input) Begin(floor uint64) {
	in.mu.Lock()
	in.received, in.acked, in.inHand = floor, floor, Amount{}
	in.mu.Unlock()
}

// Message is one message that was received.
type Message struct {
	Input    *Input
	Sequence uint64
	Subject  string
	Header   nats.Header
	Data     []byte
	// Size is what it counts in hand.
	Size int
	// Stored is when the input stream stored the message, Unix nanoseconds.
	Stored int64
	// Time is the stream time of that: the same, where nobody keeps another clock (Options.StreamTime).
	Time int64

	// reply acknowledges the message as long as its input is of the generation in which it came.
	reply      string
	generation int
}

// before orders messages of several inputs: by when they were stored, then by input.
func (m *Message) before(o *Message) bool {
	return cmp.Or(cmp.Compare(m.Stored, o.Stored), cmp.Compare(m.Input.Index, o.Input.Index), cmp.Compare(m.Sequence, o.Sequence)) < 0
}

// unbind has the consumer looked up again, later.
func (in *Input) unbind(problem string) {
	if in.problem != problem {
		in.log().Warn("input is not available", "problem", problem)
	}
	in.bound, in.problem = false, problem
	in.pulls.reset()
	in.pause()
}

// pause waits longer with each failure in a row.
func (in *Input) pause() {
	wait := backoff.Wait(50*time.Millisecond, 2*time.Second, in.failures, in.jitter())
	in.failures++
	in.notBefore = in.now() + int64(wait)
	time.AfterFunc(wait, in.signal)
}
