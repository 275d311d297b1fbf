package gather

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
	"millrace.dev/millrace/workers/stage/call"
)

// endpoint is a server that is asked by a pool of workers.
type endpoint struct {
	config.GatherEndpoint
	client  *http.Client
	breaker *breaker.Breaker
	headers *headers
	now     func() time.Time
	pool    int
	queue   *queue
	number  int // among the targets of a round
	working sync.WaitGroup
	cancel  context.CancelFunc
}

func newEndpoints(s stage.Settings, breakers *breaker.Set) []target {
	c := s.Config.Gather.HTTP
	sent := &headers{headers: c.Headers, now: s.Now, known: map[string]secret{}}
	var all []target
	for i, e := range c.Endpoints {
		all = append(all, &endpoint{
			GatherEndpoint: e, headers: sent, now: s.Now, pool: c.MaxInFlight, queue: newQueue(share(s.Config, c.MaxInFlight)), number: i,
			breaker: breakers.Of(e.Name),
			client:  call.NewClient(call.Options{Idle: c.MaxInFlight, Most: c.MaxInFlight}),
		})
	}
	return all
}

func (e *endpoint) start(ctx context.Context) error {
	ctx, e.cancel = context.WithCancel(ctx)
	for range e.pool {
		e.working.Go(func() { e.work(ctx) })
	}
	return nil
}

func (e *endpoint) stop() {
	e.queue.close()
	e.cancel()
	e.working.Wait()
	e.client.CloseIdleConnections()
}

func (e *endpoint) prepare(*round) {}

func (e *endpoint) ask(r *round) { e.queue.add(r) }

func (e *endpoint) gate() *breaker.Breaker { return e.breaker }

// work sends one request after another. If a Secret cannot be read, no endpoint is at fault.
func (e *endpoint) work(ctx context.Context) {
	for {
		r, i, ok := e.queue.take()
		if !ok {
			return
		}
		headers, err := e.headers.read()
		if err != nil {
			r.end(stage.Unavailable(fmt.Errorf("ask endpoint %s: %w", e.Name, err)))
			e.queue.done(r)
			continue
		}
		if body, ok := r.take(i, e.number, 0, e.breaker); ok {
			e.send(ctx, r, i, headers, body)
		}
		e.queue.done(r)
	}
}

func (e *endpoint) send(ctx context.Context, r *round, i int, headers []header, body []byte) {
	sent := e.now()
	ctx, cancel := context.WithTimeout(ctx, r.rules.timeout)
	defer cancel()
	said, err := e.post(ctx, r, i, headers, body)
	e.breaker.Done(sent, err == nil && said.works())
	switch {
	case err == nil:
		said.who = e.Name
		r.replied(i, e.number, said, true)
	case timedOut(err):
		r.lapsed(i, e.number, sent)
	default:
		r.missed(i, failure{resultError, fmt.Errorf("endpoint %s: %w", e.Name, call.WithoutURL(err))})
	}
}

func timedOut(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

func (e *endpoint) post(ctx context.Context, r *round, i int, headers []header, body []byte) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	if r.lists {
		request.Header.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	}
	request.Header.Set("User-Agent", "millrace")
	for _, h := range headers {
		request.Header.Set(h.name, h.value)
	}
	answer, err := e.client.Do(request) //nolint:bodyclose // call.Read closes it
	if err != nil {
		return reply{}, err
	}
	n := r.asked(i)
	text, err := call.Read(answer, int64(replyBound(n))+1)
	if err != nil {
		return reply{}, err
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return parse(text, n, r.lists), nil
	}
	return e.refusal(answer.StatusCode, text, n), nil
}

// refusal is what an answer other than 2xx says. The event is at fault only where it is alone in the request and the server says so.
func (e *endpoint) refusal(status int, text []byte, n int) reply {
	why := failure{resultError, fmt.Errorf("endpoint %s answers %d %s", e.Name, status, http.StatusText(status))}
	if said := short(string(text[:min(len(text), 4*call.MaxText)])); said != "" {
		why.err = fmt.Errorf("%w: %s", why.err, said)
	}
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if n == 1 {
			why.reason = resultRefused
		}
	}
	return failed(why)
}
