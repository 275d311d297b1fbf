package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
)

// StreamState is how a stream is, as far as a reading of what flows needs it.
type StreamState struct {
	// At is the time of the server.
	At time.Time
	// Created tells a stream from one of the same name before.
	Created         time.Time
	First, Last     uint64
	Messages, Bytes uint64
	// MaxBytes is its limit; -1 = none.
	MaxBytes int64
	// Subjects are how many messages each subject has; nil unless they were asked for.
	Subjects map[string]uint64
}

// ConsumerState is how a durable consumer is, as far as a reading of what flows needs it.
type ConsumerState struct {
	// Floor is the sequence in the stream up to which everything is acknowledged, Acked how many deliveries are.
	Floor, Acked uint64
	// Outstanding messages are not acknowledged.
	Outstanding uint64
}

// State asks for the state of a stream, and for how many messages its subjects have where subjects is a pattern of them.
func (c *Client) State(ctx context.Context, stream, subjects string) (StreamState, error) {
	var body []byte
	if subjects != "" {
		body, _ = json.Marshal(map[string]string{"subjects_filter": subjects})
	}
	var info struct {
		At      time.Time `json:"ts"`
		Created time.Time `json:"created"`
		Config  struct {
			MaxBytes int64 `json:"max_bytes"`
		} `json:"config"`
		State struct {
			First    uint64            `json:"first_seq"`
			Last     uint64            `json:"last_seq"`
			Messages uint64            `json:"messages"`
			Bytes    uint64            `json:"bytes"`
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := c.api(ctx, "STREAM.INFO", stream, body, &info); err != nil {
		return StreamState{}, c.wrap(err, "read stream %s", stream)
	}
	s := info.State
	return StreamState{
		At: info.At, Created: info.Created, First: s.First, Last: s.Last, Messages: s.Messages, Bytes: s.Bytes, MaxBytes: info.Config.MaxBytes, Subjects: s.Subjects,
	}, nil
}

// ConsumerStates asks for all consumers of a stream, 256 in a request.
func (c *Client) ConsumerStates(ctx context.Context, stream string) (map[string]ConsumerState, error) {
	all := map[string]ConsumerState{}
	for {
		var page struct {
			Total     int `json:"total"`
			Consumers []struct {
				Name  string `json:"name"`
				Floor struct {
					Stream   uint64 `json:"stream_seq"`
					Consumer uint64 `json:"consumer_seq"`
				} `json:"ack_floor"`
				AckPending uint64 `json:"num_ack_pending"`
				Pending    uint64 `json:"num_pending"`
			} `json:"consumers"`
		}
		if err := c.api(ctx, "CONSUMER.LIST", stream, []byte(`{"offset":`+strconv.Itoa(len(all))+`}`), &page); err != nil {
			return nil, c.wrap(err, "list consumers of stream %s", stream)
		}
		for _, one := range page.Consumers {
			all[one.Name] = ConsumerState{Floor: one.Floor.Stream, Acked: one.Floor.Consumer, Outstanding: one.Pending + one.AckPending}
		}
		if len(page.Consumers) == 0 || len(all) >= page.Total {
			return all, nil
		}
	}
}

// Get reads one message by its sequence; nil when the stream does not hold it. Any replica of the stream may answer.
func (c *Client) Get(ctx context.Context, stream string, sequence uint64) (*Message, error) {
	return c.one(ctx, stream, Direct{Seq: sequence})
}

// First reads the first message of a subject, which may be a pattern, from a sequence on; nil when there is none.
func (c *Client) First(ctx context.Context, stream, subject string, sequence uint64) (*Message, error) {
	return c.one(ctx, stream, Direct{Seq: max(sequence, 1), Subject: subject})
}

// Newest reads the newest message of a subject, which may be a pattern; nil when there is none.
func (c *Client) Newest(ctx context.Context, stream, subject string) (*Message, error) {
	return c.one(ctx, stream, map[string]string{"last_by_subj": subject})
}

// one is Direct for one message, which takes no subscription.
func (c *Client) one(ctx context.Context, stream string, get any) (*Message, error) {
	body, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	raw, err := ask(c, "DIRECT.GET", func() (*nats.Msg, error) {
		return c.nc.RequestWithContext(ctx, c.domain.API("DIRECT.GET."+stream), body)
	})
	if err != nil {
		return nil, c.wrap(err, "read stream %s", stream)
	}
	switch status := raw.Header.Get("Status"); status {
	case "":
		return stored(raw)
	case "404":
		return nil, nil //nolint:nilnil // there is none
	default:
		return nil, c.wrap(fmt.Errorf("NATS answers %s %s", status, raw.Header.Get("Description")), "read stream %s", stream)
	}
}

// NobodyAnswers says of an error of a direct get that nobody serves the stream: it does not exist, or JetStream does not answer at all.
func NobodyAnswers(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, nats.ErrNoResponders)
}

// refusalSize is more than a refusal has.
const refusalSize = 1024

// api makes a request about a stream, and decodes as much of the answer as to has members for.
func (c *Client) api(ctx context.Context, verb, stream string, body []byte, to any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_, err := ask(c, verb, func() (struct{}, error) {
		answer, err := c.nc.RequestWithContext(ctx, c.domain.API(verb+"."+stream), body)
		if err != nil {
			return struct{}{}, err
		}
		var refused struct {
			Error *api.ApiError `json:"error"`
		}
		if len(answer.Data) < refusalSize {
			if err := json.Unmarshal(answer.Data, &refused); err != nil {
				return struct{}{}, err
			}
		}
		if refused.Error != nil {
			return struct{}{}, *refused.Error
		}
		return struct{}{}, json.Unmarshal(answer.Data, to)
	})
	return err
}

// Events is how many events a message holds: as its header says, else as its body shows. One that says only how far its writer is
// holds none.
func Events(header map[string][]string, body []byte) int64 {
	if n, err := strconv.ParseInt(nats.Header(header).Get(headerEvents), 10, 64); err == nil && n >= 0 {
		return n
	}
	return countEvents(header, body)
}
