// Package nats is the target of sinks that publishes events on a subject of another stream, account or server, each as a structured
// CloudEvent in JSON.
//
// A stream has no transactions with ours, so an event is stored at least once. Its Nats-Msg-Id follows from where the event stands in the input
// of the sink: what is published again within the duplicate window of the stream (duplicate_window, 2 minutes by default) is stored once.
//
// A batch is published without waiting in between, and is decided about when the stream has confirmed all of it. Nothing overtakes within a
// lane, unless the stream refuses one event and takes a later one.
package nats
