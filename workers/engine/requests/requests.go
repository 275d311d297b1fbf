package requests

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/stage"
)

// Replies beyond these wait nowhere: they are dropped and counted.
const (
	maxPendingReplies = 1 << 20
	maxPendingBytes   = 128 << 20
)

// statusUnheard is the status of the server's answer to a request that nobody listens to.
const statusUnheard = "503"

// On asks on a connection, which the caller closes.
func On(conn *nats.Conn) stage.Requester { return requester{conn} }

type requester struct{ conn *nats.Conn }

// Open subscribes to the replies.
func (r requester) Open(received func(stage.Reply)) (stage.Requests, error) {
	inbox := r.conn.NewInbox() + "."
	s, err := r.conn.Subscribe(inbox+"*", func(m *nats.Msg) {
		received(stage.Reply{
			Token: strings.TrimPrefix(m.Subject, inbox), Body: m.Data,
			Unheard: len(m.Data) == 0 && m.Header.Get("Status") == statusUnheard,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to replies: %w", err)
	}
	if err := s.SetPendingLimits(maxPendingReplies, maxPendingBytes); err != nil {
		return nil, errors.Join(err, s.Unsubscribe())
	}
	return &requests{conn: r.conn, inbox: inbox, subscription: s}, nil
}

type requests struct {
	conn         *nats.Conn
	inbox        string
	subscription *nats.Subscription
}

// Send publishes a request.
func (r *requests) Send(subject, token string, body []byte) error {
	return r.conn.PublishRequest(subject, r.inbox+token, body)
}

// MaxBytes is max_payload of the server.
func (r *requests) MaxBytes() int64 { return r.conn.MaxPayload() }

// Connection counts the times that the worker was connected again.
func (r *requests) Connection() (number uint64, ok bool) {
	return r.conn.Stats().Reconnects, r.conn.IsConnected()
}

// Dropped is what the subscription says.
func (r *requests) Dropped() int64 {
	n, err := r.subscription.Dropped()
	if err != nil { // it is closed
		return 0
	}
	return int64(n)
}

// Close ends the subscription, and waits for a reply that is in hand.
func (r *requests) Close() {
	ended := make(chan struct{})
	r.subscription.SetClosedHandler(func(string) { close(ended) })
	if err := r.subscription.Unsubscribe(); err != nil { // the connection is closed, and the subscription with it
		return
	}
	<-ended
}
