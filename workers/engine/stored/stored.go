package stored

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// IsFenced says whether the server refused a publish because the last message of the subject is another one than expected; of messages
// that the leader has not yet stored, too (server/errors.json, err_code).
func IsFenced(code int) bool { return code == 10071 || code == 10164 }

// Client reads messages that streams have stored.
type Client struct {
	Conn   *nats.Conn
	Domain config.Domain
}

// Message is a message of a stream.
type Message struct {
	// Sequence is 0 when there is none.
	Sequence uint64
	Header   nats.Header
	Time     time.Time
	Data     []byte
}

// Last reads the last message on subject (which may have wildcards) from the leader of
// the stream: a direct get may be answered by a replica that is behind.
func (c *Client) Last(ctx context.Context, stream, subject string) (Message, error) {
	return c.Get(ctx, stream, map[string]any{"last_by_subj": subject})
}

// Get reads one message from the leader of the stream.
func (c *Client) Get(ctx context.Context, stream string, request map[string]any) (Message, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return Message{}, err
	}
	api := c.Domain.API("STREAM.MSG.GET." + stream)
	answer, err := c.Conn.RequestWithContext(ctx, api, body)
	if err != nil {
		return Message{}, fmt.Errorf("read the last message of stream %s: %w: does it exist, and is %s allowed for this user?", stream, err, api)
	}
	var r struct {
		Error *struct {
			Code        int    `json:"code"`
			ErrorCode   int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
		Message struct {
			Sequence uint64    `json:"seq"`
			Header   string    `json:"hdrs"`
			Time     time.Time `json:"time"`
			Data     []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return Message{}, fmt.Errorf("read the last message of stream %s: %w", stream, err)
	}
	switch {
	case r.Error != nil && r.Error.ErrorCode == codeNoMessage:
		return Message{}, nil
	case r.Error != nil && r.Error.ErrorCode == codeNoStream:
		return Message{}, errors.New("stream " + stream + " does not exist: waiting for the operator to make it")
	case r.Error != nil:
		return Message{}, fmt.Errorf("read the last message of stream %s: %s", stream, r.Error.Description)
	}
	m := Message{Sequence: r.Message.Sequence, Header: nats.Header{}, Time: r.Message.Time, Data: r.Message.Data}
	if raw, err := base64.StdEncoding.DecodeString(r.Message.Header); err == nil && len(raw) > 0 {
		if h, err := nats.DecodeHeadersMsg(raw); err == nil {
			m.Header = h
		}
	}
	return m, nil
}

// Codes of the server (server/errors.json).
const (
	codeNoMessage = 10037
	codeNoStream  = 10059
)

// What one request for many messages should ask for.
const (
	Batch = 256
	Bytes = 4 << 20
)

// Direct yields a batch of stored messages of a stream (ADR-31).
func (c *Client) Direct(ctx context.Context, stream string, request map[string]any, yield func(*nats.Msg) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	inbox := c.Conn.NewInbox()
	sub, err := c.Conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // nothing is lost
	_ = sub.SetPendingLimits(-1, -1)
	api := c.Domain.API("DIRECT.GET." + stream)
	if err := c.Conn.PublishRequest(api, inbox, body); err != nil {
		return err
	}
	for {
		raw, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("%w: does the stream allow direct gets, and is %s allowed for this user?", err, api)
		}
		switch status := raw.Header.Get("Status"); status {
		case "":
			if err := yield(raw); err != nil {
				return err
			}
		case "204", "404":
			return nil
		default:
			return fmt.Errorf("%s %s (%s)", status, raw.Header.Get("Description"), api)
		}
	}
}

// Place reads which message of the stream an answer of Direct is, and when it was stored.
func Place(raw *nats.Msg) (seq uint64, at time.Time, err error) {
	if seq, err = strconv.ParseUint(raw.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return 0, at, fmt.Errorf("answer without a sequence: %w", err)
	}
	if at, err = time.Parse(time.RFC3339Nano, raw.Header.Get("Nats-Time-Stamp")); err != nil {
		return 0, at, fmt.Errorf("answer without a time: %w", err)
	}
	return seq, at, nil
}
