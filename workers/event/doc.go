// Package event reads and writes what travels: native JSON, CloudEvents (structured,
// binary, batch), NDJSON and frames, plus keys, partitions and ids.
//
// Inside a worker an event stays encoded. Event is a view: the encoded protobuf bytes as
// received, the few fields that most stages read, and bytes that this stage appended.
// Protobuf merges appended fields, so a stage adds what it knows without encoding the
// event again, and a stage that adds nothing passes the bytes on as they came.
package event
