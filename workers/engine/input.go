package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
)

// input receives from one durable consumer.
type input struct {
	e     *Engine
	cfg   config.Input
	index int
	// inbox is where messages arrive: <inbox>.<pull id>.
	inbox string
	sub   *nats.Subscription
	wake  chan struct{} // something changed that may allow a pull

	mu          sync.Mutex
	shelf       shelf
	recent      recent
	pulls       pulls
	budget      int // bytes in hand and asked for
	maxMessages int
	ackWait     time.Duration
	bound       bool
	boundOnce   bool
	oversize    bool // the next message is larger than what is left of the budget
	draining    bool
	problem     string // why there is no input; empty = all is well
	failures    int    // in a row
	notBefore   int64  // Unix nanoseconds of the next try
	pending     uint64 // messages in the stream behind the last one received
}

func newInput(e *Engine, index int, c config.Input) *input {
	in := &input{
		e: e, cfg: c, index: index, wake: make(chan struct{}, 1),
		shelf: shelf{bySeq: map[uint64]*message{}}, pulls: pulls{open: map[string]amount{}},
		budget:      max(e.limits.maxInFlightBytes/len(e.cfg.Inputs), 1),
		maxMessages: maxMessages, ackWait: c.AckWait.D(),
		problem: "not yet bound to consumer " + c.Stream + "/" + c.Durable,
	}
	fallback(&in.ackWait, defaultAckWait)
	return in
}

func (in *input) name() string { return in.cfg.Stream + "/" + in.cfg.Durable }

func (in *input) now() int64 { return in.e.now().UnixNano() }

func (in *input) log() *slog.Logger {
	return in.e.log.With("stream", in.cfg.Stream, "consumer", in.cfg.Durable)
}

func (in *input) subscribe() (err error) {
	in.inbox = in.e.conn.NewInbox()
	in.sub, err = in.e.conn.Subscribe(in.inbox+".*", in.receive)
	if err != nil {
		return err
	}
	// What is received is bounded by the pulls, not by the client.
	return in.sub.SetPendingLimits(-1, -1)
}

func (in *input) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// run binds, asks for messages and keeps those in hand alive, until ctx ends.
func (in *input) run(ctx context.Context) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.wake:
		case <-tick.C:
			tick.Reset(in.keepAlive())
		}
		if in.ready(ctx) {
			in.ask()
		}
	}
}

// ready says whether to pull now; it binds to the consumer first where that is needed.
func (in *input) ready(ctx context.Context) bool {
	in.mu.Lock()
	now := in.now()
	if in.pulls.dropSilent(now) && in.bound && in.e.conn.IsConnected() {
		in.log().Debug("pull requests were lost and are made again")
	}
	wait := in.draining || now < in.notBefore
	bound := in.bound
	in.mu.Unlock()
	if wait || !in.e.conn.IsConnected() {
		return false
	}
	return bound || in.bind(ctx)
}

// bind looks the consumer up by its name: that needs no right but CONSUMER.INFO.
func (in *input) bind(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var problem string
	cons, err := in.e.js.Consumer(ctx, in.cfg.Stream, in.cfg.Durable)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		problem = "stream " + in.cfg.Stream + " does not exist: waiting for the operator to make it"
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		problem = "consumer " + in.name() + " does not exist: waiting for the operator to make it"
	case errors.Is(err, context.DeadlineExceeded):
		problem = "no answer about consumer " + in.name() + ": is $JS.API.CONSUMER.INFO allowed for this user?"
	case err != nil:
		problem = "look up consumer " + in.name() + ": " + err.Error()
	case cons.CachedInfo().Config.AckPolicy != jetstream.AckExplicitPolicy:
		problem = "consumer " + in.name() + " does not have the explicit acknowledgement policy"
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if problem != "" {
		in.unbind(problem)
		return false
	}
	c := cons.CachedInfo().Config
	in.ackWait = c.AckWait
	in.maxMessages = maxMessages
	if c.MaxAckPending > 0 {
		in.maxMessages = min(maxMessages, c.MaxAckPending)
	}
	in.pending = cons.CachedInfo().NumPending
	in.bound, in.boundOnce, in.problem, in.failures, in.notBefore = true, true, "", 0, 0
	in.pulls.reset()
	in.log().Info("bound to consumer", "ack_wait", c.AckWait, "pending_messages", in.pending)
	return true
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
	wait := backoff(50*time.Millisecond, 2*time.Second, in.failures, in.e.jitter())
	in.failures++
	in.notBefore = in.now() + int64(wait)
	time.AfterFunc(wait, in.signal)
}

// ask sends the pull requests that there is room for.
func (in *input) ask() {
	for {
		in.mu.Lock()
		a, ok := in.nextPull(int(in.e.conn.MaxPayload()))
		if !ok || !in.bound || in.draining {
			in.mu.Unlock()
			return
		}
		id := in.pulls.add(a, in.now())
		in.mu.Unlock()
		subject := "$JS.API.CONSUMER.MSG.NEXT." + in.cfg.Stream + "." + in.cfg.Durable
		if err := in.e.conn.PublishRequest(subject, in.inbox+"."+id, a.request()); err != nil {
			in.mu.Lock()
			in.pulls.end(id, a)
			in.pause()
			in.mu.Unlock()
			return
		}
	}
}

// reconnected forgets the pulls that the old connection made.
func (in *input) reconnected() {
	in.mu.Lock()
	in.pulls.reset()
	in.bound, in.notBefore, in.failures = false, 0, 0
	in.mu.Unlock()
	in.signal()
}

// receive takes one message from the connection. It never waits for long.
func (in *input) receive(raw *nats.Msg) {
	// Only what the server says itself arrives under the inbox; an event keeps its subject.
	if id, ok := strings.CutPrefix(raw.Subject, in.inbox+"."); ok {
		in.status(id, raw.Header.Get("Status"), raw.Header)
		in.signal()
		return
	}
	meta, err := raw.Metadata()
	if err != nil {
		return // not from a consumer: nothing to acknowledge
	}
	if m, fresh := in.admit(raw, meta); fresh {
		select {
		case in.e.queue <- m:
		case <-in.e.closed:
		}
	}
	in.signal()
}

// admit puts a message on the shelf. A redelivery of one in hand only renews its reply
// subject, and one that was acknowledged a moment ago is acknowledged again.
func (in *input) admit(raw *nats.Msg, meta *nats.MsgMetadata) (*message, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	in.pending, in.failures, in.oversize = meta.NumPending, 0, false
	in.pulls.take(raw.Size(), now)
	if in.bound {
		in.problem = ""
	}
	if meta.NumDelivered > 1 {
		in.e.metrics.redelivered.Inc()
	}
	if m := in.shelf.bySeq[meta.Sequence.Stream]; m != nil {
		m.reply = raw.Reply
		in.shelf.touch(m, now)
		return nil, false
	}
	if in.recent.has(meta.Sequence.Stream, now) {
		_ = in.e.conn.Publish(raw.Reply, ackBody()) // not sent: it comes again
		return nil, false
	}
	m := &message{
		in: in, seq: meta.Sequence.Stream, subject: raw.Subject, header: raw.Header, data: raw.Data,
		size: raw.Size(), stored: meta.Timestamp.UnixNano(), received: now, reply: raw.Reply, touched: now,
	}
	m.hold(1)
	in.shelf.add(m)
	return m, true
}
