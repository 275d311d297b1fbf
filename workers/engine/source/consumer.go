package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ready says whether to pull now; it binds to the consumer first where that is needed.
func (in *Input) ready(ctx context.Context) (bool, error) {
	in.mu.Lock()
	now := in.now()
	if in.pulls.dropSilent(now) && in.bound && in.conn.IsConnected() {
		in.log().Debug("pull requests were lost and are made again")
	}
	wait := in.draining || now < in.notBefore
	bound, before := in.bound, in.problem
	in.mu.Unlock()
	if wait || !in.conn.IsConnected() {
		return false, nil
	}
	if bound {
		return true, nil
	}
	state, err := in.Bind(ctx)
	if errors.Is(err, ErrAnotherStream) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // Bind has told of it, and it is tried again
	}
	return in.complete(ctx, state.Floor, before)
}

// Next is the sequence of the first message of the lane behind seq that is still stored; 0 = there is none.
func (in *Input) Next(ctx context.Context, seq uint64) (uint64, error) {
	next, err := in.leader(ctx, map[string]any{"seq": seq + 1, "next_by_subj": in.filter})
	return next.Sequence, err
}

// complete makes sure that the lane has received all that is acknowledged, if its stages must. problem is the one of before: it is there
// until that is known.
func (in *Input) complete(ctx context.Context, floor uint64, problem string) (bool, error) {
	in.mu.Lock()
	received := in.received
	switch {
	case floor <= received:
		in.mu.Unlock()
		return true, nil
	case !in.stateful:
		in.received, in.acked = floor, floor
		in.mu.Unlock()
		return true, nil
	}
	in.problem = problem
	in.mu.Unlock()
	next, err := in.Next(ctx, received)
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err != nil:
		in.unbind(err.Error())
		return false, nil
	case next != 0 && next <= floor:
		// The worker that had the lane before was still at work when this one took it over. What it
		// acknowledged meanwhile will not be delivered: the state of the lane lacks it.
		return false, fmt.Errorf("%w: it is acknowledged up to %d, and %d is the last message that was received", ErrSkipped, floor, received)
	}
	in.received, in.acked, in.problem = floor, floor, "" // what is between is other lanes'
	return true, nil
}

// ErrSkipped says that somebody else acknowledged messages that this lane has not received.
var ErrSkipped = errors.New("another worker has gone on with the input of the lane")

// ErrAnotherStream says that the input stream was deleted and made again.
var ErrAnotherStream = errors.New("the input stream is another one than before")

// Consumer is what the server says about the consumer when it is reset.
type Consumer struct {
	Floor   uint64 // stream sequence up to which all is acknowledged
	pending uint64
	// Stream is the identity of the stream; another one is another stream of the same name.
	Stream string
}

// Bind resets the consumer to its acknowledgement floor and listens to it.
func (in *Input) Bind(ctx context.Context) (Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := in.listen(); err != nil {
		return Consumer{}, err
	}
	state, err := in.reset(ctx)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.unbind(err.Error())
		return state, err
	}
	if in.stream != "" && in.stream != state.Stream {
		in.bound, in.problem = false, ErrAnotherStream.Error()
		return state, ErrAnotherStream
	}
	in.stream, in.pending, in.delivered = state.Stream, state.pending, 0
	in.bound, in.problem, in.failures, in.notBefore = true, "", 0, 0
	in.heard = in.now()
	in.pulls.reset()
	if !in.everBound {
		in.log().Info("bound to consumer", "floor", state.Floor, "pending_messages", state.pending)
	}
	in.everBound = true
	return state, nil
}

// listen makes a new subscription: what was on its way to the old one is not wanted any more.
func (in *Input) listen() error {
	inbox := in.conn.NewInbox()
	var sub *nats.Subscription
	ready := make(chan struct{})
	sub, err := in.conn.Subscribe(inbox+".*", func(raw *nats.Msg) {
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
func (in *Input) reset(ctx context.Context) (Consumer, error) {
	if err := in.exists(ctx); err != nil {
		return Consumer{}, err
	}
	msg := nats.NewMsg(in.domain.API("CONSUMER.RESET." + in.Config.Stream + "." + in.consumer))
	msg.Header[headerStreamIdentity] = []string{"?"} // have it told
	answer, err := in.conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return Consumer{}, errors.New("reset consumer " + in.name() + ": " + err.Error() + ": is " + msg.Subject + " allowed for this user, and the server 2.14 or newer?")
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
		return Consumer{}, errors.New("reset consumer " + in.name() + ": " + err.Error())
	}
	if r.Error != nil {
		return Consumer{}, errors.New("reset consumer " + in.name() + ": " + r.Error.Description)
	}
	return Consumer{Floor: r.AckFloor.Stream, pending: r.NumPending, Stream: answer.Header.Get(headerStreamIdentity)}, nil
}

// exists looks the consumer up by its name: that needs no right but CONSUMER.INFO, and says
// better than a reset what is wrong.
func (in *Input) exists(ctx context.Context) error {
	cons, err := in.js.Consumer(ctx, in.Config.Stream, in.consumer)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.New("stream " + in.Config.Stream + " does not exist: waiting for the operator to make it")
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return errors.New("consumer " + in.name() + " does not exist: waiting for the operator to make it")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer about consumer " + in.name() + ": is " + in.domain.API("CONSUMER.INFO."+in.Config.Stream+"."+in.consumer) + " allowed for this user?")
	case err != nil:
		return errors.New("look up consumer " + in.name() + ": " + err.Error())
	}
	c := cons.CachedInfo().Config
	if c.AckPolicy != jetstream.AckAllPolicy {
		return errors.New("consumer " + in.name() + " does not have the acknowledgement policy all: delete it, the operator makes it again")
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.maxMessages = MaxMessages
	if c.MaxAckPending > 0 {
		in.maxMessages = min(MaxMessages, c.MaxAckPending)
	}
	return nil
}

// look compares the consumer with what is in hand, when nothing has come for a while: the
// server may wait for an acknowledgement of what another worker received. What the server says is also
// the clock of the stages while nothing comes: its time, when it has nothing that it has not delivered. The clock of
// the worker may be ahead, and a delivery may be late.
func (in *Input) look(ctx context.Context) {
	in.mu.Lock()
	now := in.now()
	quiet := now - in.heard
	every := int64(lookSeldom)
	if quiet < int64(lookSeldom) || in.often {
		every = int64(lookOften)
	}
	due := in.bound && !in.draining && in.inHand.Messages == 0 && quiet > int64(lookOften) && now-in.looked > every
	if due {
		in.looked = now
	}
	in.mu.Unlock()
	if !due || !in.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cons, err := in.js.Consumer(ctx, in.Config.Stream, in.consumer)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.inHand.Messages > 0 || in.heard > now || !in.bound {
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
		in.quiet, in.empty = cons.CachedInfo().TimeStamp.UnixNano(), now
	}
}

// AskQuiet asks the server at once whether there is anything that the input has not taken. If there is not, it is known to be quiet until now, on a server
// whose clock is that of the worker: no Margin counts.
func (in *Input) AskQuiet(ctx context.Context) error {
	now := in.now()
	last, err := in.leader(ctx, map[string]any{"last_by_subj": in.filter})
	if err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bound && in.inHand.Messages == 0 && in.received >= last.Sequence { // what is in hand may not have come to the merger
		in.quiet = max(in.quiet, now+int64(Margin))
	}
	return nil
}

// How often look looks: in the first minute after the last message, or when a stage is flushed by the clock; and later.
const (
	lookOften  = time.Second
	lookSeldom = time.Minute
)
