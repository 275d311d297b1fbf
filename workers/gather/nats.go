package gather

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
)

// listeners are those who listen on a subject: none, one of a group, or several.
type listeners struct {
	subject   string
	requester stage.Requester
	metrics   *metrics
	breaker   *breaker.Breaker
	// window has an entry for each request that nobody has replied to.
	window   chan struct{}
	queue    *queue
	stopping chan struct{}
	sending  sync.WaitGroup
	requests stage.Requests // from start on

	mu     sync.Mutex
	rounds map[uint64]*round
	last   uint64 // the number of the last round
}

func newNATS(s stage.Settings, m *metrics, breakers *breaker.Set) *listeners {
	c := s.Config.Gather.NATS
	return &listeners{
		subject: c.Subject, requester: s.Requester, metrics: m, window: make(chan struct{}, c.MaxInFlight), queue: newQueue(share(s.Config, c.MaxInFlight)),
		breaker:  breakers.Of(c.Subject),
		stopping: make(chan struct{}), rounds: map[uint64]*round{},
	}
}

func (l *listeners) start(context.Context) error {
	if l.requester == nil {
		return errors.New("gather.nats: the worker has no connection to NATS")
	}
	requests, err := l.requester.Open(l.received)
	if err != nil {
		return fmt.Errorf("gather.nats: %w", err)
	}
	l.requests = requests
	err = l.metrics.register.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "millrace_gather_dropped_replies_total", Help: "Replies that were dropped because they came faster than the worker read them.",
	}, func() float64 { return float64(requests.Dropped()) }))
	if err != nil {
		requests.Close()
		return fmt.Errorf("register metrics of gather: %w", err)
	}
	l.sending.Go(l.send)
	return nil
}

func (l *listeners) stop() {
	close(l.stopping)
	l.queue.close()
	l.sending.Wait()
	l.requests.Close()
}

func (l *listeners) prepare(r *round) {
	connection, _ := l.requests.Connection()
	l.mu.Lock()
	l.last++
	id := l.last
	l.rounds[id] = r
	l.mu.Unlock()
	r.id = id
	r.free = func() {
		<-l.window
		l.queue.done(r)
	}
	r.over = func() {
		l.mu.Lock()
		delete(l.rounds, id)
		l.mu.Unlock()
	}
	r.lost = func() error {
		if now, ok := l.requests.Connection(); !ok || now != connection {
			return errors.New("the connection to NATS was lost while replies were waited for")
		}
		return nil
	}
	r.came = func(q *request, how outcome) {
		if how == unknown {
			l.breaker.Cancel(q.sent)
			return
		}
		l.breaker.Done(q.sent, how == good)
	}
}

func (l *listeners) ask(r *round) { l.queue.add(r) }

func (l *listeners) gate() *breaker.Breaker { return l.breaker }

// send sends the requests of all rounds, one after another.
func (l *listeners) send() {
	for {
		r, i, ok := l.queue.take()
		if !ok {
			return
		}
		select {
		case l.window <- struct{}{}:
		case <-l.stopping:
			return
		}
		if _, connected := l.requests.Connection(); !connected {
			<-l.window
			l.queue.done(r)
			r.end(stage.Unavailable(fmt.Errorf("ask on %s: not connected to NATS", l.subject)))
			continue
		}
		body, ok := r.take(i, 0, l.requests.MaxBytes(), l.breaker)
		if !ok {
			<-l.window
			l.queue.done(r)
			continue
		}
		if err := l.requests.Send(l.subject, token(r.id, i), body); err != nil {
			r.end(stage.Unavailable(fmt.Errorf("ask on %s: %w", l.subject, err)))
			continue
		}
		r.expire()
	}
}

// token is that of a request of a round.
func token(round uint64, request int) string {
	return strconv.FormatUint(round, 36) + "-" + strconv.Itoa(request)
}

// received takes a reply.
func (l *listeners) received(m stage.Reply) {
	number, request, _ := strings.Cut(m.Token, "-")
	id, wrong := strconv.ParseUint(number, 36, 64)
	i, odd := strconv.Atoi(request)
	l.mu.Lock()
	r, known := l.rounds[id], id <= l.last
	l.mu.Unlock()
	switch {
	case wrong != nil || odd != nil || !known:
		l.metrics.reply(resultMalformed)
		return
	case r == nil:
		l.metrics.reply(resultLate)
		return
	}
	n := r.asked(i)
	switch {
	case n == 0:
		l.metrics.reply(resultMalformed)
	case m.Unheard:
		r.missed(i, failure{resultUnheard, fmt.Errorf("nobody listens on %s", l.subject)})
	default:
		r.replied(i, 0, parse(m.Body, n, r.lists), false)
	}
}
