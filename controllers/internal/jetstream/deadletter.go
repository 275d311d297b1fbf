package jetstream

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
)

// The headers of a dead letter (docs/delivery.md).
const (
	HeaderReason    = "Millrace-Reason"
	HeaderError     = "Millrace-Error"
	HeaderStage     = "Millrace-Stage"
	HeaderAttempts  = "Millrace-Attempts"
	HeaderStream    = "Millrace-Stream"
	HeaderSubject   = "Millrace-Subject"
	HeaderSequence  = "Millrace-Sequence"
	HeaderIndex     = "Millrace-Index"
	HeaderTime      = "Millrace-Time"
	HeaderTruncated = "Millrace-Truncated"
	HeaderSize      = "Millrace-Size"
)

// Sent are the headers that the sender of a dead letter gave it.
func (m *Message) Sent() map[string][]string {
	h := map[string][]string{}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, "Millrace-") {
			h[name] = values
		}
	}
	return h
}

// DeadLetter is what the headers of a dead letter say.
type DeadLetter struct {
	Sequence uint64
	Stored   time.Time
	// Stage that could not process the event, and why; Error is the message of the error, if there was one.
	Stage, Reason, Error string
}

// DeadLetters reads the first dead letter behind a sequence, and the last one of the stream. Both are one where
// only one is new, and none where all have expired.
func (c *Client) DeadLetters(ctx context.Context, stream string, behind uint64) ([]DeadLetter, error) {
	var found []DeadLetter
	for _, get := range []api.JSApiMsgGetRequest{{Seq: behind + 1, NextFor: ">"}, {LastFor: ">"}} {
		m, err := c.stored(ctx, stream, get)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(found) > 0 && found[0].Sequence == m.Sequence {
			continue
		}
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			h = nats.Header{} // somebody else has published it
		}
		found = append(found, DeadLetter{
			Sequence: m.Sequence, Stored: m.Time, Stage: h.Get(HeaderStage), Reason: h.Get(HeaderReason), Error: h.Get(HeaderError),
		})
	}
	return found, nil
}
