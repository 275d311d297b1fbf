package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Direct asks for stored messages of a stream, of which any of its replicas may answer: a batch in one request (ADR 31 of NATS).
type Direct struct {
	// Seq is the first stream sequence, or Since the time from which on; 0 = the first message.
	Seq   uint64     `json:"seq,omitempty"`
	Since *time.Time `json:"start_time,omitempty"`
	// Subject chooses messages, as a pattern; empty = all.
	Subject string `json:"next_by_subj,omitempty"`
	// Batch and MaxBytes bound the answer. One message comes however large it is.
	Batch    int `json:"batch,omitempty"`
	MaxBytes int `json:"max_bytes,omitempty"`
	// LastFor asks for the last message of each subject instead, of up to 1024 in all; UpTo is the last stream sequence that counts.
	LastFor []string `json:"multi_last,omitempty"`
	UpTo    uint64   `json:"up_to_seq,omitempty"`
}

// Direct yields the messages in stream order. It returns how many more there are behind the batch. No message is no error.
func (c *Client) Direct(ctx context.Context, stream string, get Direct, yield func(*Message) error) (more uint64, err error) {
	type answer struct {
		more uint64
		err  error // of yield
	}
	a, err := ask(c, "DIRECT.GET", func() (answer, error) {
		more, failed, err := c.direct(ctx, stream, get, yield)
		return answer{more, failed}, err
	})
	if err != nil {
		return 0, c.wrap(err, "read stream %s", stream)
	}
	return a.more, a.err
}

// ErrStop ends a Scan without an error.
var ErrStop = errors.New("enough")

// Scan yields stored messages in stream order, batch by batch, until there are no more, or yield fails. ErrStop of yield is no error.
func (c *Client) Scan(ctx context.Context, stream string, get Direct, yield func(*Message) error) error {
	for {
		last := uint64(0)
		more, err := c.Direct(ctx, stream, get, func(m *Message) error {
			last = m.Sequence
			return yield(m)
		})
		switch {
		case errors.Is(err, ErrStop):
			return nil
		case err != nil || more == 0 || last == 0:
			return err
		}
		get.Seq, get.Since = last+1, nil
	}
}

func (c *Client) direct(ctx context.Context, stream string, get Direct, yield func(*Message) error) (more uint64, failed, err error) {
	body, err := json.Marshal(get)
	if err != nil {
		return 0, nil, err
	}
	inbox := c.nc.NewInbox()
	// A subscription of nats.go with a channel of its own has room for 64Ki messages, half a MiB, each time.
	answers := make(chan *nats.Msg, max(get.Batch, lastFor*min(len(get.LastFor), 1))+1)
	sub, err := c.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return 0, nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // nothing is lost
	if err := c.nc.PublishRequest(c.domain.API("DIRECT.GET."+stream), inbox, body); err != nil {
		return 0, nil, err
	}
	for {
		raw, err := c.within(ctx, answers)
		if err != nil {
			return 0, nil, err
		}
		switch status := raw.Header.Get("Status"); status {
		case "":
			m, err := stored(raw)
			if err == nil {
				err = yield(m)
			}
			if err != nil {
				return 0, err, nil
			}
		case "204":
			more, _ = strconv.ParseUint(raw.Header.Get("Nats-Num-Pending"), 10, 64)
			return more, nil, nil
		case "404":
			return 0, nil, nil
		case "503":
			return 0, nil, nats.ErrNoResponders
		default:
			return 0, nil, fmt.Errorf("NATS answers %s %s", status, raw.Header.Get("Description"))
		}
	}
}

// lastFor is how many messages an answer to Direct.LastFor has at most (nats-server, server/stream.go).
const lastFor = 1024

// within waits for one message of an answer, no longer than for an answer.
func (c *Client) within(ctx context.Context, answers <-chan *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	select {
	case m := <-answers:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stored reads which message of the stream an answer is.
func stored(raw *nats.Msg) (*Message, error) {
	m := &Message{Subject: raw.Header.Get("Nats-Subject"), Header: raw.Header, Data: raw.Data}
	var err error
	if m.Sequence, err = strconv.ParseUint(raw.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return nil, fmt.Errorf("a stored message without a sequence: %w", err)
	}
	if m.Stored, err = time.Parse(time.RFC3339Nano, raw.Header.Get("Nats-Time-Stamp")); err != nil {
		return nil, fmt.Errorf("a stored message without a time: %w", err)
	}
	for _, name := range [...]string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"} {
		delete(m.Header, name)
	}
	return m, nil
}
