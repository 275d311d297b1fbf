package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// ErrConflict says that the value of a key is another one than the writer expected.
var ErrConflict = errors.New("somebody else has changed the key")

// codeWrongLast is the code of a publish whose Nats-Expected-Last-Subject-Sequence is another one (server/errors.json).
const codeWrongLast = 10071

// Value is the value of a key of a KV bucket.
type Value struct {
	Key  string
	Data []byte
	// Revision is the stream sequence of the value.
	Revision uint64
}

// Value reads a key from the leader of its bucket; ErrNotFound when it has no value, or when there is no bucket.
func (c *Client) Value(ctx context.Context, bucket, key string) (Value, error) {
	m, err := c.stored(ctx, "KV_"+bucket, api.JSApiMsgGetRequest{LastFor: config.KeySubject(bucket, key)})
	if err != nil {
		return Value{}, err
	}
	if len(m.Data) == 0 {
		return Value{Key: key, Revision: m.Sequence}, fmt.Errorf("key %s of bucket %s: %w", key, bucket, ErrNotFound)
	}
	return Value{key, m.Data, m.Sequence}, nil
}

// Values reads all keys that begin with some tokens, in their order of writing. ErrNotFound means that there is no bucket.
func (c *Client) Values(ctx context.Context, bucket, prefix string) (all []Value, err error) {
	if _, err := c.LastSequence(ctx, "KV_"+bucket); err != nil {
		return nil, err
	}
	// A bucket keeps one message of each key.
	get := Direct{Subject: config.KeySubject(bucket, prefix+".>"), Batch: 512, MaxBytes: 4 << 20, Seq: 1}
	err = c.Scan(ctx, "KV_"+bucket, get, func(m *Message) error {
		if len(m.Data) > 0 {
			all = append(all, Value{strings.TrimPrefix(m.Subject, config.KeySubject(bucket, "")), m.Data, m.Sequence})
		}
		return nil
	})
	return all, err
}

// Put writes a key whose revision is known: 0 = it never had a value. It returns the new revision; ErrConflict when somebody
// else has written it. No data deletes it.
func (c *Client) Put(ctx context.Context, bucket, key string, data []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	msg := &nats.Msg{Subject: c.domain.Put(bucket, key), Data: data, Header: nats.Header{nats.ExpectedLastSubjSeqHdr: {strconv.FormatUint(revision, 10)}}}
	if len(data) == 0 {
		msg.Header.Set("KV-Operation", "DEL")
	}
	reply, err := c.nc.RequestMsgWithContext(ctx, msg)
	var ack *api.PubAck
	if err == nil {
		ack, err = jsm.ParsePubAck(reply)
	}
	var refusal api.ApiError
	switch {
	case errors.As(err, &refusal) && refusal.ErrCode == codeWrongLast:
		return 0, fmt.Errorf("write key %s of bucket %s: %w", key, bucket, ErrConflict)
	case err != nil:
		return 0, c.wrap(err, "write key %s of bucket %s", key, bucket)
	}
	return ack.Sequence, nil
}

// DeleteMessage removes one message of a stream; ErrNotFound when it holds none of the sequence.
func (c *Client) DeleteMessage(ctx context.Context, stream string, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.do("STREAM.MSG.DELETE", func() error {
		reply, err := c.nc.RequestWithContext(ctx, c.domain.API("STREAM.MSG.DELETE."+stream), fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, sequence))
		if err == nil {
			err = jsm.ParseErrorResponse(reply)
		}
		return err
	})
	return c.wrap(err, "delete message %d of stream %s", sequence, stream)
}
