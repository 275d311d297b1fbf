package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// Stream is the stream that stores a collector's subject.
type Stream struct {
	stream  jetstream.Stream
	subject string
	// stored is the subject that the stream stores the messages on.
	stored string

	// Name and Created tell a stream that was made anew.
	Name    string
	Created time.Time
	// First is the sequence of its first message.
	First uint64
}

// WaitForNATS calls do again until NATS answers. Other errors it returns.
func WaitForNATS(ctx context.Context, log *slog.Logger, do func(context.Context) error) error {
	const pause = time.Second
	said := false
	for {
		err := do(ctx)
		if err == nil || !isAway(err) || ctx.Err() != nil {
			return err
		}
		if !said {
			said = true
			log.Warn("waiting for NATS with JetStream", "error", explain(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isAway tells whether an error means that NATS does not answer.
func isAway(err error) bool {
	for _, away := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionReconnecting,
		nats.ErrNoServers, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrStaleConnection,
		jetstream.ErrJetStreamNotEnabled, // what nats.go makes of ErrNoResponders, as when a leaf node is cut off
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}

// FindStream finds the stream that stores a subject, and waits for it.
func FindStream(ctx context.Context, js jetstream.JetStream, subject string, log *slog.Logger) (*Stream, error) {
	stream, err := findStream(ctx, js, subject, log)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream of %s: %w", subject, err)
	}
	s := &Stream{
		stream: stream, subject: subject, stored: subject, Name: info.Config.Name, Created: info.Created, First: info.State.FirstSeq,
	}
	if t := info.Config.SubjectTransform; t != nil {
		s.stored = config.StoredSubject(t.Destination, subject)
	}
	return s, nil
}

func findStream(ctx context.Context, js jetstream.JetStream, subject string, log *slog.Logger) (jetstream.Stream, error) {
	const pause = time.Second
	said := false
	for {
		name, err := js.StreamNameBySubject(ctx, subject)
		if err == nil {
			return js.Stream(ctx, name)
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("stream of %s: %w", subject, err)
		}
		if !said {
			said = true
			log.Warn("waiting for a stream that stores the subject: apply a Pipeline whose ingress covers it", "subject", subject, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Replay calls apply for each frame of a collector on the subject, from a sequence on. It returns the sequence of the
// last message on the subject, 0 = there is none from there on, and how many frames there were.
func (s *Stream) Replay(ctx context.Context, from uint64, apply func([]event.Event)) (last uint64, frames int, err error) {
	for {
		msg, err := s.next(ctx, from)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			newest, err := s.last(ctx)
			if err != nil {
				return 0, 0, err
			}
			if newest >= from {
				continue // it came just now
			}
			return max(last, newest), frames, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read subject %s: %w", s.subject, err)
		}
		last, from = msg.Sequence, msg.Sequence+1
		if msg.Header.Get(HeaderCollector) == "" {
			continue // not a collector's: somebody published by hand
		}
		events, err := DecodeFrame(msg.Header, msg.Data)
		if err != nil {
			return 0, 0, fmt.Errorf("message %d on %s: %w", msg.Sequence, s.subject, err)
		}
		apply(events)
		frames++
	}
}

// next is the first message on the subject from a sequence on.
func (s *Stream) next(ctx context.Context, from uint64) (*jetstream.RawStreamMsg, error) {
	return s.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(s.stored))
}

// last is the sequence of the last message on the subject; 0 = there is none.
func (s *Stream) last(ctx context.Context) (uint64, error) {
	msg, err := s.stream.GetLastMsgForSubject(ctx, s.stored)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read subject %s: %w", s.subject, err)
	}
	return msg.Sequence, nil
}
