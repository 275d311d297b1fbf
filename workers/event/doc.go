// Package event reads and writes what travels: native JSON, CloudEvents (structured,
// binary, batch), NDJSON and frames, plus keys, partitions and ids.
//
// Inside a worker an event stays encoded. Event is a view: the encoded protobuf bytes as
// received, the few fields that most stages read, and bytes that this stage appended.
// Protobuf merges appended fields, so a stage adds what it knows without encoding the
// event again, and a stage that adds nothing passes the bytes on as they came.
//
//	d := event.NewDecoder(event.Limits{})
//	events, bad := d.Decode(nil, event.Message{Header: h, Data: body, Sequence: seq, Time: stored})
//	events[0].AddResource("k8s.node.name", "worker-1")
//	frame := event.AppendFrame(nil, event.FrameHeader{Partition: 3}, &events[0])
//	d.Reset() // the events are gone
//
// # Reading
//
// A Decoder decodes messages; the content type decides what they are, else the first byte
// (form.go, decoder.go). It owns the memory of its events until it is reset: frames are
// decompressed into it, JSON is encoded into it in one pass (scan.go, transcode.go), and
// what stages append goes there too. Nothing is allocated per event. What is no event comes
// back as Undecodable beside the good ones, with the bytes that it came as.
//
// Fields outside of the view are read when they are asked for (value.go, signals.go,
// context.go): getters scan the encoded bytes, and a bit per field number says what is not
// there at all.
//
// # Writing
//
// Set and Add methods append encoded fields and keep the view in step (patch.go).
// FrameWriter builds frames (frame.go); AppendCloudEvent writes events for the
// world outside (cloudevent.go). ToProto and FromProto convert to the generated
// type, for rare paths.
//
// docs/events.md describes the forms for users.
package event
