package track

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/stored"
)

// Options are what a Log is made of.
type Options struct {
	Conn   *nats.Conn
	Stored *stored.Client
	// Owner names who writes: worker and session.
	Owner  string
	Log    *slog.Logger
	Now    func() time.Time
	Jitter func() float64
	// AckTimeout is how long a publish waits for its PubAck before the log looks what became of it.
	AckTimeout time.Duration
	// Buffers takes *[]byte that are not needed any more.
	Buffers *sync.Pool
	// Owns asks whether the lane is still this worker's.
	Owns func(context.Context) (bool, error)
	// Reconnects returns a channel that is closed at the next reconnect.
	Reconnects func() <-chan struct{}
	// Stopped returns an error when the lane is to be given back.
	Stopped func() error
	Metrics Metrics
}

// Metrics count what a log does.
type Metrics struct {
	// Republished counts publishes that are repeated or looked after, ConfirmedLate those of them that were stored.
	Republished, ConfirmedLate Counter
	// Inflight is how many messages wait for their PubAck.
	Inflight Gauge
}

// Counter counts, as one of Prometheus does.
type Counter interface{ Inc() }

// Gauge goes up and down, as one of Prometheus does.
type Gauge interface {
	Add(n float64)
	Sub(n float64)
}

// Log is the tracks of one lane, for one session. One goroutine appends to it.
type Log struct {
	conn       *nats.Conn
	messages   *stored.Client
	owner      string
	log        *slog.Logger
	now        func() time.Time
	jitter     func() float64
	ackTimeout time.Duration
	buffers    *sync.Pool
	owns       func(context.Context) (bool, error)
	reconnects func() <-chan struct{}
	stopped    func() error
	metrics    Metrics

	places   []progress.Place
	doubt    *progress.Doubt
	answers  chan answer
	sub      *nats.Subscription
	inbox    string
	attempts uint64 // publishes
	problems problems
}

// New makes a log that is not open.
func New(o *Options) *Log {
	return &Log{
		conn: o.Conn, messages: o.Stored, owner: o.Owner, log: o.Log, now: o.Now, jitter: o.Jitter, ackTimeout: o.AckTimeout, buffers: o.Buffers,
		owns: o.Owns, reconnects: o.Reconnects, stopped: o.Stopped, metrics: o.Metrics,
	}
}

// Close ends the session: no outputs wait any more. It returns why outputs waited.
func (l *Log) Close() (problems []string) {
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
	}
	problems = l.problems.list()
	l.problems.clear()
	return problems
}

// Problems say why outputs wait.
func (l *Log) Problems() []string { return l.problems.list() }

// answer is what the server says to a publish.
type answer struct {
	queue   int
	attempt uint64
	ack     pubAck
}

// listen subscribes to the answers to publishes.
func (l *Log) listen(tracks int) error {
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
	}
	// Each track has one publish under way; answers to ones that were given up come on top.
	answers := make(chan answer, 4*tracks+16)
	l.answers, l.inbox = answers, l.conn.NewInbox()
	var err error
	l.sub, err = l.conn.Subscribe(l.inbox+".*.*", func(raw *nats.Msg) {
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

// attempts numbers publishes, so that answers to ones that were given up are told apart.
func (l *Log) nextAttempt() uint64 {
	l.attempts++
	return l.attempts
}
