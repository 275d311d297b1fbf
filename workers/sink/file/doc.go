// Package file keeps events as lines of a file: one CloudEvent in JSON each (NDJSON), and optionally compressed with zstd.
//
// Beside the file stands its record (events.ndjson.place): the place of the lane, and how long the file was then. A step of a lane (target.go)
// cuts the file to that length, which takes back what a crash left behind, appends its rows, waits until the disk has them (fsync), and
// then replaces the record by a rename, waiting for the disk again. The rename is the commit. A lock on a file beside it
// (flock) keeps two workers apart, and whoever comes from another place than that of the record changes nothing.
//
// Rotation (rotate.go) is such a step, too: the record says that the file gets its final name, then it gets it. So a file with a final name
// is whole and does not change any more.
//
// With zstd, each step is a frame of its own: a file is cut between frames, and any reader of zstd reads them one after another.
//
// A step costs three waits for the disk (BenchmarkStore).
package file
