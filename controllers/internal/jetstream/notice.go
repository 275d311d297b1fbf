package jetstream

import (
	"strings"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
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
	consumerDeleted = "$JS.EVENT.ADVISORY.CONSUMER.DELETED."
	streamDeletion  = "STREAM.DELETE."
	consumerApplied = "CONSUMER.CREATE."
	durableApplied  = "CONSUMER.DURABLE.CREATE."
)

// noticesOf are the subjects that tell of changes in a domain, and whether each is about a consumer. Advisories cross
// a leaf node. Requests do not cross it without the name of their domain, and the servers of the domain take the name
// off: so they are heard with it on the side of the leaf node, and without it on the side of the domain.
func noticesOf(domain config.Domain) map[string]bool {
	subjects := map[string]bool{streamCreated: false, streamUpdated: false, streamDeleted: false, consumerDeleted: true}
	for _, d := range []config.Domain{"", domain} {
		subjects[d.API(streamDeletion)] = false
		subjects[d.API(consumerApplied)] = true
		subjects[d.API(durableApplied)] = true
	}
	return subjects
}

// listen tells of what others do on the server. A connection without the right to subscribe to
// one of the subjects goes on without: the server says no and that is all.
func listen(nc *nats.Conn, connection string, domain config.Domain, notify func(Notice)) error {
	for prefix, consumer := range noticesOf(domain) {
		_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
			if n, ok := noticeOf(strings.TrimPrefix(m.Subject, prefix), consumer); ok {
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

// noticeOf reads the rest of a subject: its tokens are the stream and, when it is about one, the consumer.
func noticeOf(rest string, consumer bool) (Notice, bool) {
	names := strings.Split(rest, ".")
	switch {
	case !consumer:
		return Notice{Stream: names[0]}, true
	case len(names) < 2: // a consumer without a name is nobody's durable
		return Notice{}, false
	}
	return Notice{Stream: names[0], Consumer: names[1]}, true
}
