// Package wire reads and appends the fields of encoded events (numbers.go) as protobuf writes them,
// without a copy: Field and Fields say where a value stands, String makes a text of bytes that share its memory.
package wire
