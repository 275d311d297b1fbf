package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// replay says what to publish again, and where.
type replay struct {
	// stream of the dead letters.
	stream string
	// ingress is the subject below which collectors publish, without ".>"; empty = it is not known. What came in there
	// goes to the subject on which it came.
	ingress string
	// to is the subject for all others.
	to string
	// stage and reason choose dead letters; empty = all.
	stage, reason string
	// after is the sequence behind which to begin.
	after uint64
	// limit bounds the number of dead letters; 0 = all.
	limit int
	// dryRun publishes nothing.
	dryRun bool
}

// result counts dead letters.
type result struct {
	// published again; before are those of them that a replay had published a moment ago.
	published, before int
	// cut are those that cannot be replayed, since their body was too large to be kept whole.
	cut int
	// last is the sequence of the last one that was looked at.
	last uint64
}

// run publishes what is stored now. An error leaves a result behind: what is published stays published.
func (r *replay) run(ctx context.Context, c *jetstream.Client) (done result, err error) {
	end, err := c.LastSequence(ctx, r.stream)
	if err != nil {
		return done, err
	}
	done.last = r.after
	for done.last < end && (r.limit == 0 || done.published < r.limit) {
		m, err := c.Next(ctx, r.stream, done.last)
		if errors.Is(err, jetstream.ErrNotFound) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		if m.Sequence > end { // it died meanwhile
			return done, nil
		}
		if err := r.one(ctx, c, m, &done); err != nil {
			return done, fmt.Errorf("dead letter %d: %w", m.Sequence, err)
		}
		done.last = m.Sequence
	}
	return done, nil
}

func (r *replay) one(ctx context.Context, c *jetstream.Client, m *jetstream.Message, done *result) error {
	switch {
	case r.stage != "" && m.Get(jetstream.HeaderStage) != r.stage, r.reason != "" && m.Get(jetstream.HeaderReason) != r.reason:
		return nil
	case m.Get(jetstream.HeaderTruncated) != "":
		done.cut++
		return nil
	case r.dryRun:
		done.published++
		return nil
	}
	_, duplicate, err := c.Publish(ctx, r.message(m))
	if err != nil {
		return err
	}
	done.published++
	if duplicate {
		done.before++
	}
	return nil
}

// message is the dead letter as it was received.
func (r *replay) message(m *jetstream.Message) *jetstream.Message {
	subject := r.to
	if from := m.Get(jetstream.HeaderSubject); r.ingress != "" && (from == r.ingress || strings.HasPrefix(from, r.ingress+".")) {
		subject = from
	}
	id := "dead-letter:" + r.stream + ":" + strconv.FormatUint(m.Sequence, 10)
	return &jetstream.Message{Subject: subject, ID: id, Header: m.Sent(), Data: m.Data}
}
