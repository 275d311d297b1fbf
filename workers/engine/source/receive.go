package source

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// receive takes one message from the connection. It never waits for long.
func (in *Input) receive(sub *nats.Subscription, raw *nats.Msg) {
	defer in.signal()
	// Only what the server says itself arrives under the inbox; an event keeps its subject.
	if strings.HasPrefix(raw.Subject, in.inboxPrefix) {
		in.status(sub, raw)
		return
	}
	meta, err := raw.Metadata()
	if err != nil {
		return // not from a consumer: nothing to acknowledge
	}
	if m := in.admit(sub, raw, meta); m != nil {
		select {
		case in.queue <- m:
		case <-in.over:
		}
	}
}

// admit takes a message into hand, unless it was there before or one before it is missing.
func (in *Input) admit(sub *nats.Subscription, raw *nats.Msg, meta *nats.MsgMetadata) *Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	if sub != in.sub || !in.bound {
		return nil
	}
	now := in.now()
	in.pending, in.failures, in.oversize, in.heard = meta.NumPending, 0, false, now
	in.pulls.take(raw.Size(), now)
	in.problem = ""
	if meta.NumDelivered > 1 {
		in.redelivered.Inc()
	}
	if meta.Sequence.Consumer != in.delivered+1 {
		// Somebody else received what is missing: the worker that had the lane before.
		in.log().Info("a message is missing: the consumer is reset", "want", in.delivered+1, "got", meta.Sequence.Consumer)
		in.bound = false
		in.pulls.reset()
		in.pause()
		return nil
	}
	in.delivered = meta.Sequence.Consumer
	seq := meta.Sequence.Stream
	if seq <= in.acked && in.owned() {
		_ = in.conn.Publish(raw.Reply, ackBody()) // not sent: it comes again
	}
	if seq <= in.received {
		if seq > in.acked {
			in.again[seq] = raw.Reply
		}
		return nil
	}
	in.received = seq
	m := &Message{
		Input: in, Sequence: seq, Subject: raw.Subject, Header: raw.Header, Data: raw.Data,
		Size: raw.Size(), Stored: meta.Timestamp.UnixNano(), Time: in.timeOf(meta.Timestamp), reply: raw.Reply, generation: in.generation,
	}
	if in.inHand.Messages == 0 {
		in.waits = now
	}
	in.inHand.Messages++
	in.inHand.Bytes += m.Size
	return m
}

// status handles a message of the server that ends or prolongs a request.
func (in *Input) status(sub *nats.Subscription, raw *nats.Msg) {
	h := raw.Header
	code, text := h.Get("Status"), h.Get("Description")
	id := raw.Subject[strings.LastIndexByte(raw.Subject, '.')+1:]
	in.mu.Lock()
	defer in.mu.Unlock()
	if sub != in.sub {
		return
	}
	in.pulls.heard = in.now()
	if code == "100" {
		if in.bound {
			in.problem = ""
		}
		return
	}
	asked, known := in.pulls.open[id]
	left := pendingOf(h, asked)
	in.pulls.end(id, left)
	switch {
	case !known && code != "503": // of a request that was given up
	case code == "404" || code == "408" || text == "Batch Completed":
	case strings.HasPrefix(text, "Message Size Exceeds"):
		in.oversize = in.oversize || left.Bytes >= asked.Bytes
	case code == "503":
		in.unbind("nothing answers for consumer " + in.name() + ": it does not exist, or JetStream is not available")
	case text == "Consumer Deleted":
		in.unbind("consumer " + in.name() + " was deleted")
	case text == "Leadership Change" || text == "Server Shutdown":
		in.bound = false
		in.pulls.reset()
		in.pause()
	default:
		in.problem = "pull from " + in.name() + ": " + code + " " + text
		in.pause()
	}
}
