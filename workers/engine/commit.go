package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
)

const (
	publishBackoff    = 100 * time.Millisecond
	publishMaxBackoff = 5 * time.Second
	publishTick       = 50 * time.Millisecond
	// maxBatch is how many messages one atomic batch holds at most; the server allows 1000.
	maxBatch = 500
)

// answer is what the server says to a publish.
type answer struct {
	queue   int
	attempt uint64
	ack     pubAck
}

// listen subscribes to the answers to publishes.
func (l *lane) listen() error {
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
	}
	// Each track has one publish under way; answers to ones that were given up come on top.
	answers := make(chan answer, 4*len(l.tracks)+16)
	l.answers, l.inbox = answers, l.e.conn.NewInbox()
	var err error
	l.sub, err = l.e.conn.Subscribe(l.inbox+".*.*", func(raw *nats.Msg) {
		queue, attempt, _ := strings.Cut(raw.Subject[len(l.inbox)+1:], ".")
		q, err1 := strconv.Atoi(queue)
		a, err2 := strconv.ParseUint(attempt, 10, 64)
		if err1 != nil || err2 != nil {
			return
		}
		select {
		case answers <- answer{q, a, readPubAck(raw)}:
		default: // one that is not waited for any more, or it is asked about later
		}
	})
	if err != nil {
		return err
	}
	return l.sub.SetPendingLimits(-1, -1)
}

// commit stores what came out of s, then acknowledges its messages. It tries for ever: a full
// stream or a lost connection delays. The error says that the lane is lost, or that somebody
// else has written; or it is that of ctx.
func (l *lane) commit(ctx context.Context, s *step) error {
	s.trace.begin(ctx, l, s)
	err := l.store(ctx, s)
	s.trace.end(l, err)
	if err != nil {
		return err
	}
	now := l.e.now().UnixNano()
	for i, n := range l.e.nodes {
		n.stats.commit(s, &s.Tallies[i], i == 0, now)
		l.warnLate(n, s.Tallies[i].Late)
	}
	if err := l.stillOurs(ctx); err != nil { // it may have been stopped since it has stored
		return err
	}
	l.acknowledge(s)
	s.forget()
	l.working.Add(-1)
	l.free <- s
	return nil
}

// warnLate logs events that came too late, once a minute at most.
func (l *lane) warnLate(n *node, late int64) {
	if late == 0 || !l.e.late.Allow(l.e.now()) {
		return
	}
	l.log.Warn("events came too late and are left out of what the stage closes by event time", "stage", n.cfg.Stage, "events", late,
		"since_start", n.stats.snapshot().Late)
}

// stillOurs is errLost when the lane is another worker's, as far as this one can know. While it cannot read the leases
// it goes on.
func (l *lane) stillOurs(ctx context.Context) error {
	if !l.e.fresh() {
		if owns, err := l.e.owns(ctx, l.index); err == nil && !owns {
			return fmt.Errorf("%w: found out before an acknowledgement", errLost)
		}
	}
	if l.isLost() { // a fresh look has told, and the context may not have ended yet
		return errLost
	}
	return nil
}

// acknowledge acknowledges the last message of each input.
func (l *lane) acknowledge(s *step) {
	for i, in := range l.inputs {
		var last *message
		var done amount
		for _, m := range s.messages {
			if m.in.index == i {
				last = m
				done.messages++
				done.bytes += m.size
			}
		}
		if last != nil {
			in.ack(last, done)
		}
	}
}

// store publishes the outputs of s, on every track one after another, and waits for their PubAcks.
func (l *lane) store(ctx context.Context, s *step) error {
	if len(s.Pending) == 0 {
		return ctx.Err()
	}
	s.queues = s.queues[:0]
	for _, p := range s.Pending {
		s.queue(l.tracks[p.Outlet.Number], p.Outputs)
	}
	left := len(s.queues)
	for i := range s.queues {
		q := &s.queues[i]
		l.encodeAll(s, q)
		s.trace.inject(q)
		l.e.metrics.inflightFrames.Add(float64(len(q.outputs)))
		l.send(i, q)
	}
	defer func() {
		for i := range s.queues {
			q := &s.queues[i]
			l.e.metrics.inflightFrames.Sub(float64(len(q.outputs)))
		}
	}()
	tick := time.NewTicker(publishTick)
	defer tick.Stop()
	reconnected := l.e.reconnects(l)
	for left > 0 {
		select {
		case a := <-l.answers:
			if a.queue >= len(s.queues) || s.queues[a.queue].attempt != a.attempt {
				continue // of a publish that was given up
			}
			done, err := l.answered(ctx, a.queue, &s.queues[a.queue], a.ack)
			if err != nil {
				return err
			}
			if done {
				left--
			}
		case <-reconnected: // nothing is known about what was under way
			reconnected = l.e.reconnects(l)
			for i := range s.queues {
				s.queues[i].due = 0
			}
		case <-tick.C:
			n, err := l.overdue(ctx, s)
			if err != nil {
				return err
			}
			left -= n
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// queue holds the outputs of one step on one track.
type queue struct {
	track    *track
	outputs  []output
	next     int // the first one that is not stored
	sent     int // how many are under way from next on
	attempt  uint64
	failures int
	failed   bool
	due      int64 // Unix nanoseconds of the next look
}

// queue adds outputs to what is stored of s, in the memory of an earlier step.
func (s *step) queue(t *track, outputs []*chain.Output) {
	n := len(s.queues)
	s.queues = slices.Grow(s.queues, 1)[:n+1]
	q := &s.queues[n]
	*q = queue{track: t, outputs: q.outputs[:0]}
	for _, o := range outputs {
		q.outputs = append(q.outputs, output{of: o})
	}
}

// keepOutputs is how many outputs a queue that is used again may have room for.
const keepOutputs = 1024

// forget lets go of what the queues of s hold.
func (s *step) forget() {
	for i := range s.queues {
		q := &s.queues[i]
		clear(q.outputs)
		if cap(q.outputs) > keepOutputs {
			q.outputs = nil
		}
	}
}

// encodeAll completes the messages of q.
func (l *lane) encodeAll(s *step, q *queue) {
	since := l.since(q.track, s.done)
	for i := range q.outputs {
		o := &q.outputs[i]
		if o.of.IsFrame() {
			o.buffer = l.e.buffer()
			*o.buffer = l.chain.Encode(o.of, (*o.buffer)[:0])
		}
		o.msg = nats.Msg{Subject: o.of.Subject, Header: o.of.Header, Data: o.of.Data}
		l.header(s, q.track, o, since)
	}
}

// header adds the headers that say who wrote o, and where in the input it is from.
func (l *lane) header(s *step, t *track, o *output, since uint64) {
	h := o.msg.Header
	h[headerOwner] = []string{l.owner}
	h[headerPosition] = []string{string(progress.AppendReach(nil, l.places, o.of.Reach))}
	o.number = l.nextAttempt()
	of := progress.Output{Number: o.number, Since: since, Items: &o.of.Items, Ports: t.outlet.Node.Ports.Names, Done: s.done}
	h[headerStep] = []string{string(of.Append(nil, l.places))}
}

// trackHeaders is the room for the headers that are added when a message is published: each input has its name and the
// identity of its stream three times in them, and two positions.
func (e *Engine) trackHeaders() int {
	room := 512
	for _, in := range e.cfg.Inputs {
		room += 3*(len(in.From)+maxIdentity) + 2*maxPosition
	}
	names := 0
	for _, n := range e.graph.Nodes {
		names = max(names, len(strings.Join(n.Ports.Names, ",")))
	}
	room += names
	return room
}

const (
	maxIdentity = 64 // of a stream, with what stands around it
	maxPosition = 52 // three numbers
)

// attempts numbers publishes, so that answers to ones that were given up are told apart.
func (l *lane) nextAttempt() uint64 {
	l.attempts++
	return l.attempts
}

// send publishes the next output of q, or, where they are single events, the next ones as an
// atomic batch: all or none of them are stored.
func (l *lane) send(i int, q *queue) {
	q.attempt, q.failed = l.nextAttempt(), false
	q.due = l.e.now().Add(l.e.ackTimeout << min(q.failures, 3)).UnixNano()
	rest := q.outputs[q.next:]
	q.sent = 1
	if !l.e.conn.IsConnected() {
		l.delay(q, "not connected to NATS")
		return
	}
	if q.track.outlet.Port.Single() && !q.track.noBatch {
		q.sent = min(len(rest), maxBatch)
	}
	reply := l.inbox + "." + strconv.Itoa(i) + "." + strconv.FormatUint(q.attempt, 10)
	id := ""
	if q.sent > 1 {
		id = rand.Text()
	}
	for k := range rest[:q.sent] {
		o := &rest[k]
		h := o.msg.Header
		for _, name := range [...]string{headerBatchID, headerBatchSeq, headerBatchEnd, headerExpected, headerExpectedS} {
			delete(h, name)
		}
		if k == 0 {
			h[headerExpected] = []string{strconv.FormatUint(q.track.fence, 10)}
			if q.track.outlet.Pattern != o.msg.Subject {
				h[headerExpectedS] = []string{q.track.outlet.Pattern}
			}
		}
		if id != "" {
			h[headerBatchID], h[headerBatchSeq] = []string{id}, []string{strconv.Itoa(k + 1)}
		}
		o.msg.Reply = ""
		if k == q.sent-1 {
			o.msg.Reply = reply
			if id != "" {
				h[headerBatchEnd] = []string{"1"}
			}
		}
		if err := l.e.conn.PublishMsg(&o.msg); err != nil {
			l.delay(q, err.Error())
			return
		}
	}
}

// delay has q sent again later, because of reason.
func (l *lane) delay(q *queue, reason string) {
	wait := backoff.Wait(publishBackoff, publishMaxBackoff, q.failures, l.e.jitter())
	q.failures++
	q.failed = true
	q.due = l.e.now().Add(wait).UnixNano()
	l.outgoing.set(l, q.track, reason)
}

// answered handles the answer to the publish of q that is under way; done says that all of q is stored.
func (l *lane) answered(ctx context.Context, i int, q *queue, ack pubAck) (done bool, err error) {
	switch {
	case ack.problem == "":
		return l.stored(i, q, ack.Sequence), nil
	case ack.code == codeWrongLastSequence || ack.code == codeWrongLastSequenceNow:
		return l.resolve(ctx, i, q)
	case ack.code == codeNoBatches && q.sent > 1:
		q.track.noBatch = true
		l.send(i, q)
		return false, nil
	default:
		l.delay(q, ack.problem)
		return false, nil
	}
}

// stored notes that what was sent of q is stored, the last of it as sequence, and sends what is next.
func (l *lane) stored(i int, q *queue, sequence uint64) (done bool) {
	for i := range q.outputs[q.next : q.next+q.sent] {
		o := &q.outputs[q.next+i]
		if o.buffer != nil {
			l.e.buffers.Put(o.buffer)
			o.buffer = nil
		}
	}
	q.track.fence = sequence
	q.next += q.sent
	q.failures = 0
	l.outgoing.set(l, q.track, "")
	if q.next < len(q.outputs) {
		l.send(i, q)
		return false
	}
	q.attempt = 0
	return true
}

// overdue looks after publishes without an answer, and repeats those that were refused. It returns how many queues
// it found stored.
func (l *lane) overdue(ctx context.Context, s *step) (stored int, err error) {
	now := l.e.now().UnixNano()
	for i := range s.queues {
		q := &s.queues[i]
		if q.attempt == 0 || now < q.due {
			continue
		}
		l.e.metrics.republished.Inc()
		if q.failed {
			l.send(i, q)
			continue
		}
		done, err := l.resolve(ctx, i, q)
		if err != nil {
			return stored, err
		}
		if done {
			stored++
		}
	}
	return stored, nil
}

// resolve finds out what became of the publish of q that is under way: nobody has answered, or
// the server says that another message is the last one.
func (l *lane) resolve(ctx context.Context, i int, q *queue) (done bool, err error) {
	look, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := q.track
	last, err := l.e.lastStored(look, t.outlet.Port.Out.Stream, t.outlet.Pattern)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		l.delay(q, err.Error())
		return false, nil
	}
	sent := q.outputs[q.next+q.sent-1]
	of := l.parseOutput(t, last.header)
	switch {
	case last.header.Get(headerOwner) == l.owner && of != nil && of.Number == sent.number:
		l.e.metrics.republishedStored.Inc()
		return l.stored(i, q, last.seq), nil
	case last.seq == t.fence || last.header.Get(headerOwner) == l.owner: // not stored
		t.fence = last.seq
		l.send(i, q)
		return false, nil
	}
	owns, err := l.e.owns(ctx, l.index)
	switch {
	case err != nil:
		l.delay(q, err.Error())
		return false, nil
	case !owns:
		return false, fmt.Errorf("%w: %s has written to %s", errLost, last.header.Get(headerOwner), t.outlet.Pattern)
	case last.seq < t.fence: // what stood there before was deleted: by age, or by a person
		t.fence = last.seq
		l.send(i, q)
		return false, nil
	}
	return false, fmt.Errorf("%w: %q to %s", errDoubt, last.header.Get(headerOwner), t.outlet.Pattern)
}

// problems say why outputs wait, by stream.
type problems struct {
	mu  sync.Mutex
	all map[string]string
}

func (p *problems) set(l *lane, t *track, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stream := t.outlet.Port.Out.Stream
	before := p.all[stream]
	switch {
	case reason == "" && before != "":
		delete(p.all, stream)
		l.log.Info("output flows again", "stream", stream)
		l.e.nodes[t.outlet.Node.Index].metrics.blocked(stream, false)
	case reason != "" && before != reason:
		if p.all == nil {
			p.all = map[string]string{}
		}
		p.all[stream] = reason
		l.log.Warn("output waits", "stream", stream, "subject", t.outlet.Pattern, "reason", reason)
		l.e.nodes[t.outlet.Node.Index].metrics.blocked(stream, true)
	}
}

func (p *problems) clear(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream := range p.all {
		l.e.metrics.blocked(stream, false)
	}
	p.all = nil
}

func (p *problems) list() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, reason := range p.all {
		all = append(all, "output stream "+stream+": "+reason)
	}
	return all
}
