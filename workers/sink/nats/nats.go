package nats

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

// window is how many events of a lane are published before the stream has to confirm them: what follows an event that it does not
// take is published again behind it.
const window = 512

// maxPending is more than all lanes of a worker have in their windows: a publish never waits for another lane's.
const maxPending = 1 << 20

// The reasons of dead letters.
const (
	reasonMalformed = "malformed"
	reasonSubject   = "subject_error"
	reasonTooLarge  = "too_large"
)

// Stage publishes events. It is safe for concurrent use.
type Stage struct {
	settings config.NATSSink
	// subject is the expression; nil = settings.Subject.
	subject *cel.Expression[string]
	// expect is the stream that has to be the one; empty = any.
	expect []jetstream.PublishOpt
	// scope tells the events of the stage from those of others; streams are its inputs.
	scope   string
	streams []string

	mu sync.Mutex
	js jetstream.JetStream // nil = not connected yet
}

// New makes a stage. It touches neither files nor the network.
func New(s stage.Settings) (*Stage, error) {
	c := s.Config.Sink.NATS
	made := &Stage{settings: *c, scope: s.Config.Pipeline.String() + "/" + s.Config.Stage}
	if c.SubjectExpression != "" {
		env, err := cel.NewEnv()
		if err != nil {
			return nil, err
		}
		subject, err := cel.Compile[string](env, c.SubjectExpression)
		if err != nil {
			return nil, fmt.Errorf("sink.nats.subjectExpression: %w", err)
		}
		made.subject = &subject
	}
	if c.Stream != "" {
		made.expect = []jetstream.PublishOpt{jetstream.WithExpectStream(c.Stream)}
	}
	for _, in := range s.Config.Inputs {
		made.streams = append(made.streams, in.Stream)
	}
	return made, nil
}

// Start has nothing to wait for: the server may be away for long.
func (*Stage) Start(context.Context) error { return nil }

// Shutdown closes the connection.
func (s *Stage) Shutdown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.js != nil {
		s.js.Conn().Close()
		s.js = nil
	}
	return nil
}

// connected returns the connection, which is made when it is needed first and comes back by itself.
func (s *Stage) connected() (jetstream.JetStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.js != nil {
		return s.js, nil
	}
	files := config.NATS{CredentialsFile: s.settings.CredentialsFile, CAFile: s.settings.CAFile}
	conn, err := connect.NATS(s.settings.URL, connect.Login{Load: func() (connect.Material, error) { return connect.Files(files) }},
		nats.Name("millrace sink "+s.scope), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.IgnoreAuthErrorAbort(), // a login that is refused may be mended under way
		nats.ReconnectBufSize(-1))   // what cannot be sent is published again, and is not sent later as well
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.settings.URL, err)
	}
	var js jetstream.JetStream
	options := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncMaxPending(maxPending)}
	if s.settings.JetStreamDomain == "" {
		js, err = jetstream.New(conn, options...)
	} else {
		js, err = jetstream.NewWithDomain(conn, string(s.settings.JetStreamDomain), options...)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.js = js
	return js, nil
}

// Process publishes the events of b.
func (s *Stage) Process(ctx context.Context, b *stage.Batch) error {
	js, err := s.connected()
	if err != nil {
		return stage.Unavailable(err)
	}
	for from := 0; from < len(b.Events); from += window {
		to := min(from+window, len(b.Events))
		if err := s.publish(ctx, js, b, from, to); err != nil {
			for i := to; i < len(b.Events); i++ {
				b.Retry(i, stage.Unavailable(err))
			}
			return nil
		}
	}
	return nil
}

// publish publishes a window of b, and decides about its events. An error says why some have to be published again.
func (s *Stage) publish(ctx context.Context, js jetstream.JetStream, b *stage.Batch, from, to int) (away error) {
	var waits [window]jetstream.PubAckFuture
	for i := from; i < to; i++ {
		m, reason, err := s.message(&b.Events[i])
		if err != nil {
			b.DeadLetter(i, reason, err)
			continue
		}
		if away == nil {
			waits[i-from], err = js.PublishMsgAsync(m, s.expect...)
		}
		switch {
		case errors.Is(err, nats.ErrMaxPayload):
			b.DeadLetter(i, reasonTooLarge, fmt.Errorf("the event has %d bytes as JSON, the server takes %d", len(m.Data), js.Conn().MaxPayload()))
		case err != nil:
			away = fmt.Errorf("publish on %s: %w", m.Subject, err)
			fallthrough
		case away != nil:
			b.Retry(i, stage.Unavailable(away))
		}
	}
	for i := from; i < to; i++ {
		if wait := waits[i-from]; wait != nil {
			if err := s.await(ctx, b, i, wait); away == nil {
				away = err
			}
		}
	}
	return away
}

// await decides about event i when the stream has answered. An error says why it has to be published again.
func (s *Stage) await(ctx context.Context, b *stage.Batch, i int, wait jetstream.PubAckFuture) (away error) {
	var err error
	select {
	case <-wait.Ok():
		b.Keep(i, nil)
		return nil
	case err = <-wait.Err():
	case <-ctx.Done():
		err = errors.New("no stream has confirmed it in time")
	}
	subject := wait.Msg().Subject
	api := new(jetstream.APIError)
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		b.DeadLetter(i, reasonTooLarge, fmt.Errorf("the stream of subject %s: %w", subject, err))
		return nil
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		away = fmt.Errorf("no stream takes what is published on %s", subject)
	default:
		away = fmt.Errorf("publish on %s: %w", subject, err)
	}
	b.Retry(i, stage.Unavailable(away))
	return away
}

// message is what is published of an event.
func (s *Stage) message(e *event.Event) (m *nats.Msg, reason string, err error) {
	m = nats.NewMsg(s.settings.Subject)
	if s.subject != nil {
		if m.Subject, err = s.subject.Of(e); err == nil {
			err = config.CheckSubject(m.Subject)
		}
		if err != nil {
			return nil, reasonSubject, fmt.Errorf("sink.nats.subjectExpression: %w", err)
		}
	}
	if m.Data, err = cloudevent.Append(nil, e); err != nil {
		return nil, reasonMalformed, err
	}
	m.Header.Set("Content-Type", event.ContentTypeCloudEvent)
	m.Header.Set(jetstream.MsgIDHeader, s.id(e.Origin))
	return m, "", nil
}

// id follows from the place of an event in the input.
func (s *Stage) id(o event.Origin) string {
	stream := ""
	if o.Input < len(s.streams) {
		stream = s.streams[o.Input]
	}
	text := []byte(s.scope + "\x00" + stream + "\x00")
	text = binary.BigEndian.AppendUint64(text, o.Sequence)
	text = binary.BigEndian.AppendUint64(text, uint64(o.Index))
	text = binary.BigEndian.AppendUint64(text, o.Made)
	sum := xxh3.Hash128(text).Bytes()
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
