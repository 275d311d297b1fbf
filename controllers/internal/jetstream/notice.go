package jetstream

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// Notice says that something on a server may have changed. It is a hint to look: notices may be
// missing, come late, and tell of what the operator did itself.
type Notice struct {
	// Connection is that of the Client.
	Connection string
	// Stream is empty when anything may have changed: the connection was lost or is back.
	Stream string
	// Consumer is empty when the stream itself was created, changed or deleted.
	Consumer string
}

// The subjects that tell of changes. There is no advisory of a changed consumer, so the requests
// that change one are listened to instead. The advisory of a deleted stream is queued and the queue ended at
// once, so that the server loses one in some hundreds: the request tells too. Server source:
// server/jetstream_api.go, server/stream.go (stop).
const (
	streamCreated   = "$JS.EVENT.ADVISORY.STREAM.CREATED."
	streamUpdated   = "$JS.EVENT.ADVISORY.STREAM.UPDATED."
	streamDeleted   = "$JS.EVENT.ADVISORY.STREAM.DELETED."
	streamDeletion  = "$JS.API.STREAM.DELETE."
	consumerDeleted = "$JS.EVENT.ADVISORY.CONSUMER.DELETED."
	consumerApplied = "$JS.API.CONSUMER.CREATE."
	durableApplied  = "$JS.API.CONSUMER.DURABLE.CREATE."
)

// listen tells of what others do on the server. A connection without the right to subscribe to
// one of the subjects goes on without: the server says no and that is all.
func listen(nc *nats.Conn, connection string, notify func(Notice)) error {
	for _, prefix := range []string{streamCreated, streamUpdated, streamDeleted, streamDeletion, consumerDeleted, consumerApplied, durableApplied} {
		_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
			if n, ok := noticeOf(prefix, m.Subject); ok {
				n.Connection = connection
				notify(n)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noticeOf reads a subject: its tokens behind the prefix are the stream and, when it is about
// one, the consumer.
func noticeOf(prefix, subject string) (Notice, bool) {
	names := strings.Split(strings.TrimPrefix(subject, prefix), ".")
	switch prefix {
	case streamCreated, streamUpdated, streamDeleted, streamDeletion:
		return Notice{Stream: names[0]}, true
	default:
		if len(names) < 2 { // a consumer without a name is nobody's durable
			return Notice{}, false
		}
		return Notice{Stream: names[0], Consumer: names[1]}, true
	}
}
