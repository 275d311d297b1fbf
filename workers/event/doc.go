// Package event has the event as stages know it: its view, what can be set, its key and partition.
//
// Inside a worker an event stays encoded. Event is a view: the encoded protobuf bytes as
// received, the few fields that most stages read, and bytes that this stage appended.
// Protobuf merges appended fields, so a stage adds what it knows without encoding the
// event again, and a stage that adds nothing passes the bytes on as they came.
//
//	events[0].AddResource("k8s.node.name", "worker-1")
//	key, partition := events[0].Key(), events[0].PartitionOf(8)
//
// Fields outside of the view are read when they are asked for (value.go, signals.go,
// context.go): getters scan the encoded bytes, and a bit per field number says what is not
// there at all. Set and Add methods append encoded fields and keep the view in step
// (patch.go). ToProto and FromProto convert to the generated type, for rare paths.
//
// # Rooms
//
// Forms have packages of their own, which read events from bytes and write them (parts.go). None of them is
// known here.
//
//	decode      makes events of messages, whatever their form
//	frame       reads and writes frames
//	cloudevent  reads and writes JSON: native events and CloudEvents
//	jsontext    the text of JSON, without events
//	internal    the wire format of protobuf; the memory of a batch
//
// Tests that need several of them, with the golden files and the fuzz tests, are in this directory.
//
// docs/events.md describes the forms for users.
package event
