package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
)

// Message is a stored message, or one to store.
type Message struct {
	// Subject is where it is to be published, or where it is stored.
	Subject string
	// ID is its Nats-Msg-Id, under which it is stored once within the duplicate window of the stream.
	ID string
	// Sequence of a stored message, and when it was stored.
	Sequence uint64
	Stored   time.Time
	Header   map[string][]string
	Data     []byte
}

// Get is the first value of a header, by its exact name; empty when there is none.
func (m *Message) Get(name string) string { return nats.Header(m.Header).Get(name) }

// Next reads the first message of a stream behind a sequence; ErrNotFound when there is none.
func (c *Client) Next(ctx context.Context, stream string, behind uint64) (*Message, error) {
	m, err := c.stored(ctx, stream, api.JSApiMsgGetRequest{Seq: behind + 1, NextFor: ">"})
	if err != nil {
		return nil, err
	}
	h := nats.Header{}
	if len(m.Header) > 0 {
		if h, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("message %d of stream %s: %w", m.Sequence, stream, err)
		}
	}
	return &Message{Subject: m.Subject, Sequence: m.Sequence, Stored: m.Time, Header: h, Data: m.Data}, nil
}

// Publish stores a message. It returns the stream that has it, and whether that had one of the same ID.
func (c *Client) Publish(ctx context.Context, m *Message) (stream string, duplicate bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	msg := &nats.Msg{Subject: m.Subject, Header: nats.Header{nats.MsgIdHdr: {m.ID}}, Data: m.Data}
	for name, values := range m.Header {
		msg.Header[name] = values
	}
	reply, err := c.nc.RequestMsgWithContext(ctx, msg)
	if errors.Is(err, nats.ErrNoResponders) {
		return "", false, fmt.Errorf("no stream stores the subject %s", m.Subject)
	}
	var ack *api.PubAck
	if err == nil {
		ack, err = jsm.ParsePubAck(reply)
	}
	if err != nil {
		return "", false, c.wrap(err, "publish on %s", m.Subject)
	}
	return ack.Stream, ack.Duplicate, nil
}
