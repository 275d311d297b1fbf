package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/backoff"
)

// input receives the messages of one lane from one durable consumer, in stream order.
//
// The consumer is reset to its acknowledgement floor whenever something is amiss: when the lane is
// taken over, after a reconnect, and when a message is missing, because another worker that
// thinks it owns the lane received it. What was received before is not delivered to the lane twice.
type input struct {
	l     *lane
	cfg   config.Input
	index int
	// consumer and filter are those of the lane.
	consumer, filter string
	next             string          // subject of pull requests
	wake             chan struct{}   // something changed that may allow a pull
	queue            chan<- *message // of the session: what is late never gets into that of the next one

	mu          sync.Mutex
	sub         *nats.Subscription // of the present generation
	inbox       string             // where its messages arrive: <inbox>.<pull id>
	generation  int                // how often the consumer was bound to
	again       map[uint64]string  // how to acknowledge what is in hand and came again, by stream sequence
	pulls       pulls
	budget      int // bytes in hand and asked for
	maxMessages int
	hand        amount // received and not acknowledged
	waits       int64  // Unix nanoseconds since when something is in hand, or of the last acknowledgement
	received    uint64 // stream sequence of the last message in hand or acknowledged
	acked       uint64 // stream sequence of the last message acknowledged
	delivered   uint64 // consumer sequence of the last message; counts anew after a reset
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
	quiet       int64  // the server's time of a check that found nothing to deliver, Unix nanoseconds; 0 = none did
}

func newInput(l *lane, index int, c config.Input) *input {
	lanes := l.e.cfg.Lanes
	return &input{
		l: l, cfg: c, index: index, wake: make(chan struct{}, 1), queue: l.queue,
		consumer: c.Consumer(l.index, lanes), filter: c.Filter(l.index, lanes),
		next:        l.e.domain.API("CONSUMER.MSG.NEXT." + c.Stream + "." + c.Consumer(l.index, lanes)),
		pulls:       pulls{open: map[string]amount{}},
		budget:      max(l.e.limits.maxInFlightBytes/len(l.e.cfg.Inputs)/max(lanes, 1), minBudget),
		maxMessages: maxMessages,
		problem:     "not yet bound to consumer " + c.Stream + "/" + c.Consumer(l.index, lanes),
	}
}

// minBudget is what one input of a lane may have in hand at least, in bytes.
const minBudget = 1 << 20

func (in *input) name() string { return in.cfg.Stream + "/" + in.consumer }

func (in *input) now() int64 { return in.l.e.now().UnixNano() }

func (in *input) log() *slog.Logger {
	return in.l.log.With("stream", in.cfg.Stream, "consumer", in.consumer)
}

func (in *input) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// run asks for messages until ctx ends. It binds to the consumer again when that was lost;
// when the stream is not the same any more, it ends with errAnotherStream.
func (in *input) run(ctx context.Context) error {
	defer in.close() // what it has asked for is not to go to a worker that has lost the lane
	tick := time.NewTicker(inputTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.wake:
		case <-tick.C:
			in.look(ctx)
		}
		ok, err := in.ready(ctx)
		if err != nil {
			return err
		}
		if ok {
			in.ask()
		}
	}
}

const inputTick = 250 * time.Millisecond

// ready says whether to pull now; it binds to the consumer first where that is needed.
func (in *input) ready(ctx context.Context) (bool, error) {
	in.mu.Lock()
	now := in.now()
	if in.pulls.dropSilent(now) && in.bound && in.l.e.conn.IsConnected() {
		in.log().Debug("pull requests were lost and are made again")
	}
	wait := in.draining || now < in.notBefore
	bound := in.bound
	in.mu.Unlock()
	if wait || !in.l.e.conn.IsConnected() {
		return false, nil
	}
	if bound {
		return true, nil
	}
	state, err := in.bind(ctx)
	if errors.Is(err, errAnotherStream) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // bind has told of it, and it is tried again
	}
	return in.complete(ctx, state.floor)
}

// complete makes sure that the lane has received all that is acknowledged.
func (in *input) complete(ctx context.Context, floor uint64) (bool, error) {
	in.mu.Lock()
	received := in.received
	in.mu.Unlock()
	if floor <= received {
		return true, nil
	}
	next, err := in.l.leader(ctx, in, map[string]any{"seq": received + 1, "next_by_subj": in.filter})
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err != nil:
		in.unbind(err.Error())
		return false, nil
	case next.seq != 0 && next.seq <= floor:
		// The worker that had the lane before was still at work when this one took it over. What it
		// acknowledged meanwhile will not be delivered: the state of the lane lacks it.
		return false, fmt.Errorf("%w: it is acknowledged up to %d, and %d is the last message that was received", errSkipped, floor, received)
	}
	in.received, in.acked = floor, floor // what is between is other lanes'
	return true, nil
}

// errSkipped says that somebody else acknowledged messages that this lane has not received.
var errSkipped = errors.New("another worker has gone on with the input of the lane")

// errAnotherStream says that the input stream was deleted and made again.
var errAnotherStream = errors.New("the input stream is another one than before")

// consumerState is what the server says about the consumer when it is reset.
type consumerState struct {
	floor   uint64 // stream sequence up to which all is acknowledged
	pending uint64
	stream  string
}

// bind resets the consumer to its acknowledgement floor and listens to it.
func (in *input) bind(ctx context.Context) (consumerState, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := in.listen(); err != nil {
		return consumerState{}, err
	}
	state, err := in.reset(ctx)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.unbind(err.Error())
		return state, err
	}
	if in.stream != "" && in.stream != state.stream {
		in.bound, in.problem = false, errAnotherStream.Error()
		return state, errAnotherStream
	}
	in.stream, in.pending, in.delivered = state.stream, state.pending, 0
	in.bound, in.problem, in.failures, in.notBefore = true, "", 0, 0
	in.heard = in.now()
	in.pulls.reset()
	if !in.everBound {
		in.log().Info("bound to consumer", "floor", state.floor, "pending_messages", state.pending)
	}
	in.everBound = true
	return state, nil
}

// listen makes a new subscription: what was on its way to the old one is not wanted any more.
func (in *input) listen() error {
	inbox := in.l.e.conn.NewInbox()
	var sub *nats.Subscription
	ready := make(chan struct{})
	sub, err := in.l.e.conn.Subscribe(inbox+".*", func(raw *nats.Msg) {
		<-ready
		in.receive(sub, raw)
	})
	if err != nil {
		close(ready)
		return err
	}
	// What is received is bounded by the pulls, not by the client.
	_ = sub.SetPendingLimits(-1, -1)
	in.mu.Lock()
	old := in.sub
	in.sub, in.inbox = sub, inbox
	in.generation++
	in.again = map[uint64]string{}
	in.pulls.reset()
	in.mu.Unlock()
	close(ready)
	if old != nil {
		_ = old.Unsubscribe()
	}
	return nil
}

// headerStreamIdentity has the server tell which stream of the name it is (nats-server, server/jetstream_api.go).
const headerStreamIdentity = "Nats-Stream-Identity"

// reset has the server deliver again everything behind the acknowledgement floor.
func (in *input) reset(ctx context.Context) (consumerState, error) {
	if err := in.exists(ctx); err != nil {
		return consumerState{}, err
	}
	msg := nats.NewMsg(in.l.e.domain.API("CONSUMER.RESET." + in.cfg.Stream + "." + in.consumer))
	msg.Header[headerStreamIdentity] = []string{"?"} // have it told
	answer, err := in.l.e.conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return consumerState{}, errors.New("reset consumer " + in.name() + ": " + err.Error() + ": is " + msg.Subject + " allowed for this user, and the server 2.14 or newer?")
	}
	var r struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
		AckFloor struct {
			Stream uint64 `json:"stream_seq"`
		} `json:"ack_floor"`
		NumPending uint64 `json:"num_pending"`
	}
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return consumerState{}, errors.New("reset consumer " + in.name() + ": " + err.Error())
	}
	if r.Error != nil {
		return consumerState{}, errors.New("reset consumer " + in.name() + ": " + r.Error.Description)
	}
	return consumerState{floor: r.AckFloor.Stream, pending: r.NumPending, stream: answer.Header.Get(headerStreamIdentity)}, nil
}

// exists looks the consumer up by its name: that needs no right but CONSUMER.INFO, and says
// better than a reset what is wrong.
func (in *input) exists(ctx context.Context) error {
	cons, err := in.l.e.js.Consumer(ctx, in.cfg.Stream, in.consumer)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.New("stream " + in.cfg.Stream + " does not exist: waiting for the operator to make it")
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return errors.New("consumer " + in.name() + " does not exist: waiting for the operator to make it")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer about consumer " + in.name() + ": is " + in.l.e.domain.API("CONSUMER.INFO."+in.cfg.Stream+"."+in.consumer) + " allowed for this user?")
	case err != nil:
		return errors.New("look up consumer " + in.name() + ": " + err.Error())
	}
	c := cons.CachedInfo().Config
	if c.AckPolicy != jetstream.AckAllPolicy {
		return errors.New("consumer " + in.name() + " does not have the acknowledgement policy all: delete it, the operator makes it again")
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.maxMessages = maxMessages
	if c.MaxAckPending > 0 {
		in.maxMessages = min(maxMessages, c.MaxAckPending)
	}
	return nil
}

// unbind has the consumer looked up again, later.
func (in *input) unbind(problem string) {
	if in.problem != problem {
		in.log().Warn("input is not available", "problem", problem)
	}
	in.bound, in.problem = false, problem
	in.pulls.reset()
	in.pause()
}

// pause waits longer with each failure in a row.
func (in *input) pause() {
	wait := backoff.Wait(50*time.Millisecond, 2*time.Second, in.failures, in.l.e.jitter())
	in.failures++
	in.notBefore = in.now() + int64(wait)
	time.AfterFunc(wait, in.signal)
}

// ask sends the pull requests that there is room for.
func (in *input) ask() {
	for {
		in.mu.Lock()
		a, ok := in.nextPull(int(in.l.e.conn.MaxPayload()))
		if !ok || !in.bound || in.draining {
			in.mu.Unlock()
			return
		}
		id := in.pulls.add(a, in.now())
		inbox := in.inbox
		in.mu.Unlock()
		if err := in.l.e.conn.PublishRequest(in.next, inbox+"."+id, a.request()); err != nil {
			in.mu.Lock()
			in.pulls.end(id, a)
			in.pause()
			in.mu.Unlock()
			return
		}
	}
}

// reconnected forgets what the old connection made.
func (in *input) reconnected() {
	in.mu.Lock()
	in.pulls.reset()
	in.bound, in.notBefore, in.failures = false, 0, 0
	in.mu.Unlock()
	in.signal()
}

// receive takes one message from the connection. It never waits for long.
func (in *input) receive(sub *nats.Subscription, raw *nats.Msg) {
	defer in.signal()
	// Only what the server says itself arrives under the inbox; an event keeps its subject.
	if strings.HasPrefix(raw.Subject, in.l.e.inboxPrefix) {
		in.status(sub, raw)
		return
	}
	meta, err := raw.Metadata()
	if err != nil {
		return // not from a consumer: nothing to acknowledge
	}
	if m := in.admit(sub, raw, meta); m != nil {
		select {
		case in.queue <- m:
		case <-in.l.over:
		}
	}
}

// admit takes a message into hand, unless it was there before or one before it is missing.
func (in *input) admit(sub *nats.Subscription, raw *nats.Msg, meta *nats.MsgMetadata) *message {
	in.mu.Lock()
	defer in.mu.Unlock()
	if sub != in.sub || !in.bound {
		return nil
	}
	now := in.now()
	in.pending, in.failures, in.oversize, in.heard = meta.NumPending, 0, false, now
	in.pulls.take(raw.Size(), now)
	in.problem = ""
	if meta.NumDelivered > 1 {
		in.l.e.metrics.redelivered.Inc()
	}
	if meta.Sequence.Consumer != in.delivered+1 {
		// Somebody else received what is missing: the worker that had the lane before.
		in.log().Info("a message is missing: the consumer is reset", "want", in.delivered+1, "got", meta.Sequence.Consumer)
		in.bound = false
		in.pulls.reset()
		in.pause()
		return nil
	}
	in.delivered = meta.Sequence.Consumer
	seq := meta.Sequence.Stream
	if seq <= in.acked && in.l.e.fresh() && !in.l.isLost() {
		_ = in.l.e.conn.Publish(raw.Reply, ackBody()) // not sent: it comes again
	}
	if seq <= in.received {
		if seq > in.acked {
			in.again[seq] = raw.Reply
		}
		return nil
	}
	in.received = seq
	m := &message{
		in: in, seq: seq, subject: raw.Subject, header: raw.Header, data: raw.Data,
		size: raw.Size(), stored: meta.Timestamp.UnixNano(), reply: raw.Reply, generation: in.generation,
	}
	if in.hand.messages == 0 {
		in.waits = now
	}
	in.hand.messages++
	in.hand.bytes += m.size
	return m
}

// ack acknowledges everything up to m, which was messages and bytes in hand: all that it
// caused is stored. A lost acknowledgement has it delivered again, and acknowledged again.
func (in *input) ack(m *message, done amount) {
	in.mu.Lock()
	in.waits = in.now()
	in.hand.messages -= done.messages
	in.hand.bytes -= done.bytes
	in.acked = max(in.acked, m.seq)
	var err error
	if reply := in.replyTo(m); reply != "" {
		err = in.l.e.conn.Publish(reply, ackBody())
	}
	maps.DeleteFunc(in.again, func(seq uint64, _ string) bool { return seq <= in.acked })
	in.mu.Unlock()
	if err != nil {
		in.log().Warn("acknowledgement was not sent, the message will come again", "sequence", m.seq, "error", err)
	}
	in.signal()
}

// replyTo is how m is acknowledged. After a reset the consumer numbers deliveries from 1, and a message that was
// received before still carries its old, higher number. If we acknowledged that number, the server would ignore every
// acknowledgement until the new numbers catch up. The message is redelivered, so we acknowledge the redelivery: here
// if it has come, else in admit.
func (in *input) replyTo(m *message) string {
	if m.generation == in.generation {
		return m.reply
	}
	return in.again[m.seq]
}

func ackBody() []byte { return []byte("+ACK") }

// close ends the subscription.
func (in *input) close() {
	in.mu.Lock()
	sub := in.sub
	in.sub, in.bound, in.draining = nil, false, true
	in.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}

// look compares the consumer with what is in hand, when nothing has come for a while: the
// server may wait for an acknowledgement of what another worker received. What the server says is also
// the clock of the stages while nothing comes: its time, when it has nothing that it has not delivered. The clock of
// the worker may be ahead, and a delivery may be late.
func (in *input) look(ctx context.Context) {
	in.mu.Lock()
	now := in.now()
	quiet := now - in.heard
	every := int64(lookSeldom)
	if quiet < int64(lookSeldom) || in.l.chain.Flushes() || in.l.merges() {
		every = int64(lookOften)
	}
	due := in.bound && !in.draining && in.hand.messages == 0 && quiet > int64(lookOften) && now-in.looked > every
	if due {
		in.looked = now
	}
	in.mu.Unlock()
	if !due || !in.l.e.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cons, err := in.l.e.js.Consumer(ctx, in.cfg.Stream, in.consumer)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.hand.messages > 0 || in.heard > now || !in.bound {
		return
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		in.unbind("consumer " + in.name() + " was deleted")
	case err != nil:
	case cons.CachedInfo().NumAckPending > 0:
		in.log().Info("the consumer waits for somebody else: it is reset", "ack_pending", cons.CachedInfo().NumAckPending)
		in.bound = false
		in.pulls.reset()
		in.signal()
	case cons.CachedInfo().NumPending == 0:
		in.quiet = cons.CachedInfo().TimeStamp.UnixNano()
	}
}

// How often look looks: in the first minute after the last message, or when a stage is flushed by the clock; and later.
const (
	lookOften  = time.Second
	lookSeldom = time.Minute
)
