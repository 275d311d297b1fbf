package engine

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	publishBackoff    = 100 * time.Millisecond
	publishMaxBackoff = 5 * time.Second
	publishTick       = 50 * time.Millisecond
)

// output is one message to publish, and what waits for its PubAck.
type output struct {
	msg    *nats.Msg
	stream string // that takes it, for people
	events int
	// sources are the input messages that wait for it.
	sources []*message
	// produced is the port of an output of new events; empty for one of received events.
	produced string
	buffer   *[]byte // the pooled memory of msg.Data; nil = not pooled

	sent     int // publishes
	failures int
	failed   bool  // the last answer was an error
	due      int64 // Unix nanoseconds of the next try
}

// publisher keeps a bounded window of outputs that are not confirmed, and repeats each
// until it is.
type publisher struct {
	e      *Engine
	window chan struct{}
	inbox  string
	sub    *nats.Subscription

	mu       sync.Mutex
	open     map[string]*output
	last     uint64
	problems map[string]string // by stream
	progress int64             // Unix nanoseconds of the last PubAck
}

func newPublisher(e *Engine, window int) *publisher {
	return &publisher{e: e, window: make(chan struct{}, window), open: map[string]*output{}, problems: map[string]string{}}
}

func (p *publisher) subscribe() (err error) {
	p.inbox = p.e.conn.NewInbox()
	p.sub, err = p.e.conn.Subscribe(p.inbox+".*", p.receive)
	if err != nil {
		return err
	}
	return p.sub.SetPendingLimits(-1, -1)
}

// publish sends o when the window has room. The error is that of ctx: o was not sent.
func (p *publisher) publish(ctx context.Context, o *output) error {
	if ctx.Err() != nil { // a select would choose at random
		return ctx.Err()
	}
	select {
	case p.window <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.e.metrics.inflightFrames.Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	token := strconv.FormatUint(p.last, 36)
	o.msg.Reply = p.inbox + "." + token
	p.open[token] = o
	p.send(o)
	return nil
}

// send publishes o, or has it wait when there is no connection: what the client would
// buffer then is repeated anyway. It holds the lock, so that o's memory is not reused meanwhile.
func (p *publisher) send(o *output) {
	o.sent++
	now := p.e.now()
	o.failed = false
	o.due = now.Add(p.e.ackTimeout << min(o.failures, 3)).UnixNano()
	if !p.e.conn.IsConnected() {
		p.delay(o, "not connected to NATS")
		return
	}
	if err := p.e.conn.PublishMsg(o.msg); err != nil {
		p.delay(o, err.Error())
	}
}

// delay has o sent again later, because of reason.
func (p *publisher) delay(o *output, reason string) {
	wait := backoff(publishBackoff, publishMaxBackoff, o.failures, p.e.jitter())
	o.failures++
	o.failed = true
	o.due = p.e.now().Add(wait).UnixNano()
	if p.problems[o.stream] != reason {
		p.e.log.Warn("output waits", "stream", o.stream, "subject", o.msg.Subject, "reason", reason)
		p.e.metrics.blocked(o.stream, true)
	}
	p.problems[o.stream] = reason
}

// run sends again what is due, until ctx ends.
func (p *publisher) run(ctx context.Context) {
	tick := time.NewTicker(publishTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.resend()
		}
	}
}

func (p *publisher) resend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.e.now().UnixNano()
	for _, o := range p.open {
		if now < o.due {
			continue
		}
		if !o.failed { // no answer: it may be stored or not
			p.delay(o, "no answer to a publish within "+p.e.ackTimeout.String())
		}
		p.e.metrics.republished.Inc()
		p.send(o)
	}
}

// hurry makes everything that is not confirmed due now; after a reconnect nothing is
// known about what was under way.
func (p *publisher) hurry(all bool) {
	for _, o := range p.open {
		if all || o.failed {
			o.failed, o.due = true, 0
		}
	}
}

func (p *publisher) reconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurry(true)
}

// receive handles the answer to one publish.
func (p *publisher) receive(raw *nats.Msg) {
	token := raw.Subject[strings.LastIndexByte(raw.Subject, '.')+1:]
	ack := readPubAck(raw)
	p.mu.Lock()
	o := p.open[token]
	if o == nil {
		p.mu.Unlock()
		return // confirmed before
	}
	if ack.problem != "" {
		p.delay(o, ack.problem)
		p.mu.Unlock()
		return
	}
	delete(p.open, token)
	p.progress = p.e.now().UnixNano()
	if _, was := p.problems[o.stream]; was {
		delete(p.problems, o.stream)
		p.e.log.Info("output flows again", "stream", o.stream)
		p.e.metrics.blocked(o.stream, false)
		p.hurry(false)
	}
	p.mu.Unlock()
	p.stored(o, ack.Duplicate)
}

// stored lets go of what waited for o. Its place in the window is free after that, so
// that who sees an empty window finds everything counted and acknowledged.
func (p *publisher) stored(o *output, duplicate bool) {
	defer func() { <-p.window }()
	p.e.metrics.inflightFrames.Dec()
	if duplicate {
		p.e.metrics.republishedStored.Inc()
	}
	p.e.stats.stored(o, duplicate)
	if o.buffer != nil {
		p.e.buffers.Put(o.buffer)
	}
	for _, m := range o.sources {
		m.done()
	}
}

// outstanding is the number of outputs that are not confirmed.
func (p *publisher) outstanding() int { return len(p.window) }

// waiting says why outputs wait, by stream; nil when none does.
func (p *publisher) waiting() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for stream, reason := range p.problems {
		all = append(all, "output stream "+stream+": "+reason)
	}
	return all
}
