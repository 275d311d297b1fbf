package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
)

// headerEvents is the number of events in a frame (workers/event).
const headerEvents = "Millrace-Events"

// Lag is how far a consumer is behind.
type Lag struct {
	// Events stored and not yet acknowledged. A frame says how many events it holds, other messages are
	// looked into. The number is exact for up to two outstanding messages and else their number times the
	// mean of the oldest and the newest.
	Events int64
	// Oldest is when the oldest such event was stored; zero when there is none.
	Oldest time.Time
	// PerMessage is the mean number of events in a message; 0 when nothing is outstanding.
	PerMessage float64
}

// Lag measures a consumer. It reads at most two messages, and none when nothing is outstanding.
// The server counts a message as outstanding a moment after it has confirmed it to its publisher,
// so the newest messages may be missing.
func (c *Client) Lag(ctx context.Context, stream string, consumer *Consumer) (Lag, error) {
	outstanding := consumer.Pending + consumer.AckPending
	if outstanding == 0 {
		return Lag{}, nil
	}
	filter := consumer.Config.FilterSubject
	if filter == "" {
		filter = ">"
	}
	oldest, err := c.message(ctx, stream, api.JSApiMsgGetRequest{Seq: consumer.AckFloor + 1, NextFor: filter})
	if errors.Is(err, ErrNotFound) {
		return Lag{}, nil // removed by age since the consumer was read
	}
	if err != nil {
		return Lag{}, err
	}
	newest := oldest
	if outstanding > 1 {
		if newest, err = c.message(ctx, stream, api.JSApiMsgGetRequest{LastFor: filter}); err != nil {
			return Lag{}, err
		}
	}
	mean := float64(oldest.events+newest.events) / 2
	return Lag{Events: int64(math.Round(mean * float64(outstanding))), Oldest: oldest.stored, PerMessage: mean}, nil
}

type message struct {
	events int64
	stored time.Time
}

// message reads one stored message and counts its events.
func (c *Client) message(ctx context.Context, stream string, get api.JSApiMsgGetRequest) (message, error) {
	m, err := c.stored(ctx, stream, get)
	if err != nil {
		return message{}, err
	}
	return message{events: eventsOf(m.Header, m.Data), stored: m.Time}, nil
}

// stored reads one stored message. jsm.go has no call for the next message of a subject.
func (c *Client) stored(ctx context.Context, stream string, get api.JSApiMsgGetRequest) (*api.StoredMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	reply, err := ask(c, "STREAM.MSG.GET", func() (*nats.Msg, error) {
		reply, err := c.nc.RequestWithContext(ctx, c.domain.API("STREAM.MSG.GET."+stream), body)
		if err == nil {
			err = jsm.ParseErrorResponse(reply)
		}
		return reply, err
	})
	if err != nil {
		return nil, c.wrap(err, "read a message of stream %s", stream)
	}
	var response api.JSApiMsgGetResponse
	if err := json.Unmarshal(reply.Data, &response); err != nil {
		return nil, fmt.Errorf("read a message of stream %s: %w", stream, err)
	}
	if response.Message == nil {
		return nil, fmt.Errorf("read a message of stream %s: the answer holds none", stream)
	}
	return response.Message, nil
}

// eventsOf is how many events a message holds: as its header says, else as its body shows. A marker, whose header says 0, counts as one: the stages on
// the way to a join have to pass it on, so that its lag must wake one that sleeps.
func eventsOf(header, body []byte) int64 {
	var h nats.Header
	if len(header) > 0 {
		h, _ = nats.DecodeHeadersMsg(header) // without headers the body decides
	}
	return max(Events(h, body), 1)
}
