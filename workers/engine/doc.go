// Package engine moves events through one stage: it pulls messages from the durable
// consumers of the stage, decodes them, lets the stage decide, publishes what comes out
// and acknowledges the input when all of it is stored.
//
// # The path of a message
//
//	input    pull requests, bounded by bytes and messages       (input.go, pull.go)
//	shelf    every message in hand, kept alive with +WPI         (shelf.go)
//	lane     takes messages, decodes a group, calls the stage    (lane.go, process.go)
//	route    verdicts become frames, insights, dead letters      (route.go, pack.go, deadletter.go)
//	publisher  a window of unconfirmed publishes, retried for ever (publisher.go)
//	ack      when the last PubAck that a message waits for came  (message.go)
//
// # Groups and frames
//
// A lane takes what has arrived as one group. The events of a group go through the stage
// in batches of at most Batch.MaxEvents. An input frame becomes at most one output frame
// per port and partition, so what it becomes follows from it alone. Loose messages (one
// JSON event, NDJSON, CloudEvents) are packed together: a group of them takes up to
// MaxEvents events per partition, and waits up to Batch.Linger for more.
//
// A stateless stage has several lanes (GOMAXPROCS) on one shared durable. A stateful stage
// has one lane: it sees the events of an input in stream order. The exceptions are
// redeliveries: a message that an earlier worker received and did not acknowledge before
// it died comes again after AckWait, and newer messages overtake it meanwhile. It is
// processed when it comes; it is never dropped. While an event of a stateful stage is
// retried the lane waits, so that nothing overtakes it.
//
// # What is promised
//
// An input message is acknowledged after the PubAck of every frame, insight and dead
// letter that it caused. What a stage produces counts as caused by all messages of the
// group. Publishes are repeated until they are stored: a full output stream, a lost
// connection or a missing stream delay, they never lose.
//
// Every output carries a deterministic Nats-Msg-Id (ids.go) that identifies its content,
// so a repeated publish inside the duplicate window of the stream is stored once, and an
// id never stands for two different contents. docs/delivery.md says where duplicates can
// still appear.
//
// # Rights
//
// The engine creates, changes and deletes nothing. It needs publish rights on the output
// subjects, on $JS.API.CONSUMER.INFO.<stream>.<durable>,
// $JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>, $JS.ACK.<stream>.<durable>.> and
// $JS.ACK.*.*.<stream>.<durable>.>, and a subscription to its inbox. A consumer or stream that does not exist is waited for:
// the operator makes it again.
package engine
