// Package replays marks dead letters that were published again. The marks are in the KV bucket of the leases: nothing may be
// written into the stream of the dead letters, whose last message on a subject is the position of a lane.
//
// A key has the marks of 1,024 dead letters in a row. They are of one stream, from when it was made: a stream of the same
// name that was made again begins to count anew.
package replays
