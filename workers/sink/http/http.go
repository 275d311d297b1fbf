package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
	"millrace.dev/millrace/workers/stage/call"
)

// reserve is how long before the deadline of a call it sends no other request.
const reserve = 10 * time.Second

// Stage sends events.
type Stage struct {
	settings config.HTTPSink
	// scope tells the requests of the stage from those of others; streams are its inputs.
	scope   string
	streams []string
	now     func() time.Time
	client  *http.Client
	// breakers has one, that of the server.
	breakers *breaker.Set
	breaker  *breaker.Breaker
	// notBefore is when the server wants the next request, in Unix nanoseconds.
	notBefore atomic.Int64
}

// New makes a stage. It touches neither files nor the network.
func New(s stage.Settings) (*Stage, error) {
	c := s.Config.Sink.HTTP
	made := &Stage{settings: *c, scope: s.Config.Pipeline.String() + "/" + s.Config.Stage, now: s.Now}
	for _, in := range s.Config.Inputs {
		made.streams = append(made.streams, in.Stream)
	}
	made.client = call.NewClient(call.Options{Idle: 16, Timeout: c.Timeout.D()})
	var err error
	if made.breakers, err = breaker.NewSet(s.Config.Breaker, s.Now, s.Metrics); err != nil {
		return nil, err
	}
	made.breaker = made.breakers.Of("http")
	return made, nil
}

// Notes say that the breaker is not closed.
func (s *Stage) Notes() []string { return s.breakers.Notes() }

// Open says so to the operator.
func (s *Stage) Open() []config.OpenBreaker { return s.breakers.Open() }

// Start has nothing to wait for.
func (*Stage) Start(context.Context) error { return nil }

// Shutdown closes the connections.
func (s *Stage) Shutdown(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}

// Process sends the events of b.
func (s *Stage) Process(ctx context.Context, b *stage.Batch) error {
	var all []item
	for i := range b.Events {
		text, err := cloudevent.Append(nil, &b.Events[i])
		if err != nil {
			b.DeadLetter(i, "malformed", err)
			continue
		}
		all = append(all, item{i, b.Events[i].Origin, text})
	}
	began := s.now()
	until := s.until(ctx, began)
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && s.together(all[from].origin, all[to].origin) {
			to++
		}
		err := s.decide(ctx, b, all[from:to])
		if from = to; err == nil && from < len(all) && s.late(until) {
			err = fmt.Errorf("the server is slow: it has taken %d of %d events within %s; the next call goes on", from, len(all), s.now().Sub(began).Round(time.Second))
		}
		if err != nil { // what comes behind waits, so that nothing overtakes
			for _, it := range all[from:] {
				b.Retry(it.index, stage.Unavailable(err))
			}
			break
		}
	}
	return nil
}

// until is when a call sends no other request: what it has sent counts when the call ends before its deadline. Zero = never.
func (s *Stage) until(ctx context.Context, began time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return deadline.Add(-min(reserve, deadline.Sub(began)/2))
}

func (s *Stage) late(until time.Time) bool { return !until.IsZero() && s.now().After(until) }

// item is an event to be sent.
type item struct {
	index  int // in the batch
	origin event.Origin
	text   []byte
}

// together says whether two events go into one request: those of one message do, by its places and not by what is in hand. The engine cuts a
// message of a frame at multiples of batch.maxEvents (4096), and a request has a power of two of events, up to 512: it is never cut by that.
func (s *Stage) together(a, b event.Origin) bool {
	size := s.settings.MaxEvents
	return a.Input == b.Input && a.Sequence == b.Sequence && a.Index/size == b.Index/size
}

// decide sends events that belong together. When the server is away in the middle, all of them are sent again, with the same ids: what is left of
// them would make other requests.
func (s *Stage) decide(ctx context.Context, b *stage.Batch, items []item) error {
	refused := map[int]error{}
	err := s.send(ctx, items, refused)
	for _, it := range items {
		switch {
		case err != nil:
			b.Retry(it.index, stage.Unavailable(err))
		case refused[it.index] != nil:
			b.DeadLetter(it.index, "refused", refused[it.index])
		default:
			b.Keep(it.index, nil)
		}
	}
	return err
}

// send sends events in one request. After an answer that blames them it sends halves of them, and notes which are refused. An error blames no event.
func (s *Stage) send(ctx context.Context, items []item, refused map[int]error) error {
	err := s.wait(ctx)
	if err == nil {
		err = s.post(ctx, items)
	}
	blamed := (*refusal)(nil)
	switch {
	case !errors.As(err, &blamed):
		return err
	case len(items) > 1:
		half := len(items) / 2
		if err := s.send(ctx, items[:half], refused); err != nil {
			return err
		}
		return s.send(ctx, items[half:], refused)
	}
	refused[items[0].index] = err
	return nil
}

// wait waits until the server wants the next request.
func (s *Stage) wait(ctx context.Context) error {
	left := time.Unix(0, s.notBefore.Load()).Sub(s.now())
	if left <= 0 {
		return ctx.Err()
	}
	if left > maxWait { // the clock was set back
		left = maxWait
		s.notBefore.Store(s.now().Add(left).UnixNano())
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the server asks to wait for another %s", left.Round(time.Second))
	}
}

// body is what a request holds.
func (s *Stage) body(items []item) []byte {
	var b []byte
	lines := s.settings.Format == config.FormatNDJSON
	for i, it := range items {
		switch {
		case lines:
			b = append(append(b, it.text...), '\n')
			continue
		case i == 0:
			b = append(b, '[')
		default:
			b = append(b, ',')
		}
		b = append(b, it.text...)
	}
	if !lines {
		b = append(b, ']')
	}
	return slices.Clip(b)
}
