// Package source reads one lane's input, in order. It knows NATS, and nothing of what becomes of the messages.
//
// An Input receives the messages of one durable consumer (input.go, pull.go) and acknowledges them. It looks after the consumer
// (consumer.go): whenever something is amiss it resets it to its acknowledgement floor, and takes no message twice.
//
// A stage with state that has several inputs is given their messages in the order in which they were stored: so a replay makes
// the same order (Merger). Align moves the inputs of a lane that is taken over back to one place in that order.
//
// A Replay reads once more what the inputs received within a time, from the streams themselves.
package source
