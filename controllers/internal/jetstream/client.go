package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// Client administers JetStream on one connection. Errors are ErrNotFound, an
// UnreachableError, a ForbiddenError, or the server's refusal (api.ApiError). Each call is bounded by the
// pool's RequestTimeout. Its methods may be called from any goroutine.
type Client struct {
	nc             *nats.Conn
	manager        *jsm.Manager
	server         string
	domain         config.Domain
	connection     string
	timeout, retry time.Duration
	notify         func(Notice)
	requested      func(verb, outcome string, took time.Duration)
	now            func() time.Time
	// silence is set while the server is connected and answers nothing.
	silence atomic.Pointer[error]
	denials *denials
}

// Stream is what a server has.
type Stream struct {
	Config  api.StreamConfig
	Created time.Time
	State   api.StreamState

	handle *jsm.Stream
}

// Consumer is what a server has.
type Consumer struct {
	Config  api.ConsumerConfig
	Created time.Time
	// Pending messages were not yet delivered; AckPending were, and are not yet
	// acknowledged; Redelivered are those of AckPending that were delivered again.
	Pending, AckPending, Redelivered uint64
	// AckFloor is the stream sequence up to which everything is acknowledged.
	AckFloor uint64
	// Acked counts the deliveries that were acknowledged since the consumer was made.
	Acked uint64
}

// Server is the URL that the client is connected to, without user and password.
func (c *Client) Server() string { return c.server }

// Connection tells the connections of a pool apart. Notices and UnreachableErrors name it.
func (c *Client) Connection() string { return c.connection }

func (c *Client) ready() (*Client, error) {
	if c.nc.IsConnected() {
		if failure := c.silenced(); failure != nil {
			return nil, failure
		}
		return c, nil
	}
	err := c.nc.LastError()
	if err == nil {
		err = errors.New("the connection was lost; reconnecting")
	}
	return nil, c.unreachable(err)
}

// Stream reads a stream and its state.
func (c *Client) Stream(name string) (*Stream, error) {
	s, err := ask(c, "STREAM.INFO", func() (*jsm.Stream, error) { return c.manager.LoadStream(name) })
	if err != nil {
		return nil, c.wrap(err, "read stream %s", name)
	}
	return c.stream(s)
}

func (c *Client) stream(s *jsm.Stream) (*Stream, error) {
	info, err := ask(c, "STREAM.INFO", func() (*api.StreamInfo, error) { return s.LatestInformation() })
	if err != nil {
		return nil, c.wrap(err, "read stream %s", s.Name())
	}
	return &Stream{Config: info.Config, Created: info.Created, State: info.State, handle: s}, nil
}

// LastSequence is the sequence of the last message that was stored in a stream. It decodes no
// more than that.
func (c *Client) LastSequence(ctx context.Context, name string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	reply, err := ask(c, "STREAM.INFO", func() (*nats.Msg, error) {
		return c.nc.RequestWithContext(ctx, c.domain.API("STREAM.INFO."+name), nil)
	})
	if err != nil {
		return 0, c.wrap(err, "read stream %s", name)
	}
	var info struct {
		Error *api.ApiError `json:"error"`
		State struct {
			LastSeq uint64 `json:"last_seq"`
		} `json:"state"`
	}
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		return 0, fmt.Errorf("read stream %s: %w", name, err)
	}
	if info.Error != nil {
		return 0, c.wrap(*info.Error, "read stream %s", name)
	}
	return info.State.LastSeq, nil
}

// CreateStream creates a stream.
func (c *Client) CreateStream(config api.StreamConfig) (*Stream, error) {
	s, err := ask(c, "STREAM.CREATE", func() (*jsm.Stream, error) { return c.manager.NewStreamFromDefault(config.Name, config) })
	if err != nil {
		return nil, c.wrap(err, "create stream %s", config.Name)
	}
	return c.stream(s)
}

// UpdateStream changes a stream that was read before, and returns it as it is now.
func (c *Client) UpdateStream(have *Stream, config api.StreamConfig) (*Stream, error) {
	if err := c.do("STREAM.UPDATE", func() error { return have.handle.UpdateConfiguration(config) }); err != nil {
		return nil, c.wrap(err, "update stream %s", config.Name)
	}
	return c.stream(have.handle)
}

// DeleteStream deletes a stream and its messages. A stream that does not exist is no error.
func (c *Client) DeleteStream(name string) error {
	err := c.wrap(c.do("STREAM.DELETE", func() error { return c.manager.DeleteStream(name) }), "delete stream %s", name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Consumer reads a durable and its state.
func (c *Client) Consumer(stream, name string) (*Consumer, error) {
	consumer, err := ask(c, "CONSUMER.INFO", func() (*jsm.Consumer, error) { return c.manager.LoadConsumer(stream, name) })
	if err != nil {
		return nil, c.wrap(err, "read consumer %s of stream %s", name, stream)
	}
	return c.consumer(consumer)
}

// Consumers reads durables of one stream and their state, by name, in one request for up to
// 256 of the stream's. Those that do not exist are left out.
func (c *Client) Consumers(stream string, names []string) (map[string]*Consumer, error) {
	var missing []string
	var offline map[string]string
	all, err := ask(c, "CONSUMER.LIST", func() (all []*jsm.Consumer, err error) {
		all, missing, offline, err = c.manager.Consumers(stream)
		return all, err
	})
	if err != nil {
		return nil, c.wrap(err, "list consumers of stream %s", stream)
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	found := map[string]*Consumer{}
	for _, consumer := range all {
		if !wanted[consumer.Name()] {
			continue
		}
		if found[consumer.Name()], err = c.consumer(consumer); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		// The server knows them, but nobody answered for them.
		if _, down := offline[name]; down || slices.Contains(missing, name) {
			return nil, c.unreachable(fmt.Errorf("consumer %s of stream %s has no leader", name, stream))
		}
	}
	return found, nil
}

// ApplyConsumer creates or updates a durable.
func (c *Client) ApplyConsumer(stream string, config api.ConsumerConfig) (*Consumer, error) {
	consumer, err := ask(c, "CONSUMER.CREATE", func() (*jsm.Consumer, error) { return c.manager.NewConsumerFromDefault(stream, config) })
	if err != nil {
		return nil, c.wrap(err, "apply consumer %s of stream %s", config.Durable, stream)
	}
	return c.consumer(consumer)
}

func (c *Client) consumer(consumer *jsm.Consumer) (*Consumer, error) {
	info, err := ask(c, "CONSUMER.INFO", func() (api.ConsumerInfo, error) { return consumer.LatestState() })
	if err != nil {
		return nil, c.wrap(err, "read consumer %s of stream %s", consumer.Name(), consumer.StreamName())
	}
	return &Consumer{
		Config: info.Config, Created: info.Created, AckFloor: info.AckFloor.Stream, Acked: info.AckFloor.Consumer,
		Pending: info.NumPending, AckPending: uint64(max(info.NumAckPending, 0)), Redelivered: uint64(max(info.NumRedelivered, 0)),
	}, nil
}

// DeleteConsumer deletes a durable. One that does not exist is no error.
func (c *Client) DeleteConsumer(stream, name string) error {
	err := c.wrap(c.do("CONSUMER.DELETE", func() error { return c.manager.DeleteConsumer(stream, name) }), "delete consumer %s of stream %s", name, stream)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// StreamsOf lists the streams that the owner's pipeline owns, whatever the plan says. It
// pages through all streams of the account: for deletion, not for every reconcile.
func (c *Client) StreamsOf(owner Owner) ([]*Stream, error) {
	owner.Stage = ""
	all, err := ask(c, "STREAM.LIST", func() (all []*jsm.Stream, err error) {
		all, _, _, err = c.manager.Streams(nil)
		return all, err
	})
	if err != nil {
		return nil, c.wrap(err, "list streams")
	}
	var owned []*Stream
	for _, s := range all {
		if !owner.Owns(s.Metadata()) {
			continue
		}
		stream, err := c.stream(s)
		if err != nil {
			return nil, err
		}
		owned = append(owned, stream)
	}
	return owned, nil
}

// ConsumersOf lists the durables of a stream that are the owner's.
func (c *Client) ConsumersOf(stream string, owner Owner) ([]string, error) {
	all, err := ask(c, "CONSUMER.LIST", func() (all []*jsm.Consumer, err error) {
		all, _, _, err = c.manager.Consumers(stream)
		return all, err
	})
	if err != nil {
		return nil, c.wrap(err, "list consumers of stream %s", stream)
	}
	var owned []string
	for _, consumer := range all {
		if owner.Owns(consumer.Metadata()) {
			owned = append(owned, consumer.Name())
		}
	}
	return owned, nil
}

// AllConsumers lists all durables of a stream with their state, whoever owns them.
func (c *Client) AllConsumers(stream string) ([]*Consumer, error) {
	all, err := ask(c, "CONSUMER.LIST", func() (all []*jsm.Consumer, err error) {
		all, _, _, err = c.manager.Consumers(stream)
		return all, err
	})
	if err != nil {
		return nil, c.wrap(err, "list consumers of stream %s", stream)
	}
	consumers := make([]*Consumer, 0, len(all))
	for _, one := range all {
		consumer, err := c.consumer(one)
		if err != nil {
			return nil, err
		}
		consumers = append(consumers, consumer)
	}
	return consumers, nil
}

func (c *Client) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if denied := c.denied(err, args); denied != nil {
		return fmt.Errorf(format+": %w", append(args, denied)...)
	}
	c.suspect(err)
	return fmt.Errorf(format+": %w", append(args, c.classify(err))...)
}
