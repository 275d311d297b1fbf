// Package state writes the state of a stage as bytes, and reads it back (stage.Snapshotter).
//
// A type that is kept has one method that names its fields to a Codec. The same method writes and reads, so that the
// two cannot differ. The same state always makes the same bytes. They begin with the version of the format and a digest
// of what else it depends on, and end with a checksum.
//
// What is read may be damaged or made by somebody else: it leads to an error, never to a panic, and takes up memory in
// proportion to its size.
package state
