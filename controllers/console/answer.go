package console

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"millrace.dev/millrace/controllers/view"
)

// answers of one request at most, in time.
const (
	askTime  = 20 * time.Second
	saveTime = 30 * time.Minute
)

// pipelineOf is what the path names.
func pipelineOf(r *http.Request) view.Name {
	return view.Name{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
}

// read is a question about one pipeline by somebody who may get it.
func read[T any](c *console, ask func(*http.Request, view.Name) (T, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		of := pipelineOf(r)
		if err := c.allowed(r.Context(), VerbGet, of); err != nil {
			return nil, err
		}
		return ask(r, of)
	}
}

// json answers with what ask returns.
func (c *console) json(ask func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTime)
		defer cancel()
		answer, err := c.inTurn(ctx, r, ask)
		if err != nil {
			c.fail(w, r, err)
			return
		}
		body, err := json.Marshal(answer)
		if err != nil {
			c.fail(w, r, fmt.Errorf("encode the answer: %w", err))
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		if len(body) > 2<<10 && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			h.Add("Vary", "Accept-Encoding")
			z := gzip.NewWriter(w)
			defer func() { _ = z.Close() }()
			_, _ = z.Write(body)
			return
		}
		_, _ = w.Write(body)
	})
}

// Questions at the same time: each may hold some MiB of messages. More of them wait for their turn, but not more than some of one client.
const (
	answering = 12
	waiting   = 32
)

// inTurn asks when it is the turn of a request.
func (c *console) inTurn(ctx context.Context, r *http.Request, ask func(*http.Request) (any, error)) (any, error) {
	release := c.questions.take(client(r))
	if release == nil {
		return nil, problem{
			Status: http.StatusTooManyRequests, Reason: "TooManyQuestions", Message: "too many questions are asked at the same time", Do: "Wait for some of the answers.",
		}
	}
	defer release()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return ask(r.WithContext(ctx))
}

// download saves what is written as a file: never shown by a browser, whatever it holds.
func (c *console) download(write func(*saving, *http.Request, view.Name) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := pipelineOf(r)
		if err := c.allowed(r.Context(), VerbGet, of); err != nil {
			c.fail(w, r, err)
			return
		}
		release := c.streams.take(client(r))
		if release == nil {
			c.fail(w, r, tooMany())
			return
		}
		defer release()
		ctx, cancel := context.WithTimeout(r.Context(), saveTime)
		defer cancel()
		ctx, stop := c.whileAllowed(ctx, r)
		defer stop()
		s := &saving{w: w, control: http.NewResponseController(w), patience: c.Patience, now: c.Now}
		if err := deadline(s.control, time.Time{}); err != nil { // to find the first event may take long
			c.fail(w, r, err)
			return
		}
		err := write(s, r.WithContext(ctx), of)
		if lasts := deadline(s.control, c.Now().Add(c.Patience)); err == nil { // the end is written, too
			err = lasts
		}
		if err != nil {
			if s.begun {
				panic(http.ErrAbortHandler) // else a browser takes what came for all of it
			}
			if ended := endedBy(ctx); ended != nil {
				err = ended
			}
			c.fail(w, r, err)
		}
	})
}

// saving writes a file.
type saving struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	now      func() time.Time
	name     string
	begun    bool
}

// Write begins the file at the first byte, so that an error before can still be told.
func (s *saving) Write(b []byte) (int, error) {
	s.begin()
	if err := deadline(s.control, s.now().Add(s.patience)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	if err == nil {
		err = deadline(s.control, time.Time{})
	}
	return n, err
}

// deadline sets that of writes; zero is none. One that passes while nobody writes ends a stream of HTTP/2, so there is none in between.
func deadline(control *http.ResponseController, at time.Time) error {
	if err := control.SetWriteDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (s *saving) begin() {
	if s.begun {
		return
	}
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+s.name+`"`)
	h.Set("Cache-Control", "no-store")
}

// flush sends what was written.
func (s *saving) flush() error {
	s.begin()
	if err := deadline(s.control, s.now().Add(s.patience)); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	return deadline(s.control, time.Time{})
}

func tooMany() problem {
	return problem{
		Status: http.StatusTooManyRequests, Reason: "TooManyStreams", Message: "too many pages are live at the same time",
		Do: "Close some of them.",
	}
}

// stream is a live answer: server-sent events.
type stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	c       *console
	last    time.Time
	begun   bool
	failed  error
}

// watch is a live question about one pipeline by somebody who may get it.
func watch(c *console, follow func(context.Context, *http.Request, view.Name, *stream) error) func(context.Context, *http.Request, *stream) error {
	return func(ctx context.Context, r *http.Request, s *stream) error {
		of := pipelineOf(r)
		if err := c.allowed(ctx, VerbGet, of); err != nil {
			return err
		}
		return follow(ctx, r, of, s)
	}
}

// live answers with server-sent events until follow returns: "end" when it is done, "problem" when it failed.
func (c *console) live(follow func(context.Context, *http.Request, *stream) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release := c.streams.take(client(r))
		if release == nil {
			c.fail(w, r, tooMany())
			return
		}
		defer release()
		s := &stream{w: w, control: http.NewResponseController(w), c: c, last: c.Now()}
		if err := deadline(s.control, time.Time{}); err != nil {
			c.fail(w, r, err)
			return
		}
		ctx, stop := c.whileAllowed(r.Context(), r)
		defer stop()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var beating sync.WaitGroup
		beating.Go(func() { s.beat(ctx, cancel) })
		defer beating.Wait()
		defer cancel()
		err := follow(ctx, r, s)
		if ended := endedBy(ctx); ended != nil {
			err = ended
		}
		s.mu.Lock()
		begun := s.begun
		s.mu.Unlock()
		switch {
		case err == nil:
			_ = s.send("end", struct{}{})
		case r.Context().Err() != nil:
		case !begun:
			c.fail(w, r, err)
		default:
			_ = s.send("problem", c.problemOf(err))
		}
	})
}

// send writes one event. Its error ends the stream.
func (s *stream) send(kind string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode a live answer: %w", err)
	}
	var b bytes.Buffer
	b.Grow(len(body) + len(kind) + 16)
	b.WriteString("event: " + kind + "\ndata: ")
	b.Write(body)
	b.WriteString("\n\n")
	return s.write(b.Bytes())
}

func (s *stream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.last = s.c.Now()
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-store, no-transform")
		h.Set("X-Accel-Buffering", "no")
	}
	s.failed = deadline(s.control, s.last.Add(s.c.Patience))
	if s.failed == nil {
		_, s.failed = s.w.Write(b)
	}
	if s.failed == nil {
		s.failed = s.control.Flush()
	}
	if s.failed == nil {
		s.failed = deadline(s.control, time.Time{})
	}
	return s.failed
}

// beat shows that the stream is alive while nothing happens, and finds out whether anybody still reads. The first beat
// comes soon: it tells the page that the question was accepted.
func (s *stream) beat(ctx context.Context, cancel context.CancelFunc) {
	wait := min(s.c.Heartbeat, time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = s.c.Heartbeat
		s.mu.Lock()
		silent := !s.begun || s.c.Now().Sub(s.last) >= s.c.Heartbeat
		s.mu.Unlock()
		if silent && s.write([]byte(": alive\n\n")) != nil {
			cancel()
			return
		}
	}
}
