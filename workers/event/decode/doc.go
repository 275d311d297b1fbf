// Package decode makes events of messages, whatever their form: native JSON, CloudEvents (structured, binary,
// batch), NDJSON and frames. The content type decides which it is, else the first byte.
//
//	d := decode.New(decode.Limits{})
//	events, bad := d.Decode(nil, decode.Message{Header: h, Data: body, Sequence: seq, Time: stored})
//	d.Reset() // the events are gone
//
// A Decoder owns the memory of its events until it is reset. Nothing is allocated per event. What is no event
// comes back as Undecodable beside the good ones, with the bytes that it came as.
package decode
