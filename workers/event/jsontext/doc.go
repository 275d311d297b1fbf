// Package jsontext reads and writes the text of JSON (RFC 8259) without building values: it says where they
// stand, so that payloads stay byte for byte and nothing is allocated. It knows nothing of events.
//
// A Scanner passes over one value and checks it. A Cutter cuts a text into the objects and elements that it holds,
// also where one of them is broken; a Reader does so with a stream.
package jsontext
