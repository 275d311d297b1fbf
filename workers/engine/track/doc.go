// Package track appends what a lane makes to its tracks, behind a fence, and finds out where they stand.
//
// A track is one subject that one lane writes to, alone. A message is stored there only if the one before it is still the last
// one, so a worker that lost the lane without noticing is refused. What each message says of itself (owner, position, step) is
// read when another worker takes the lane over (Log.Open); package progress has the rules.
//
// Each track has one publish under way, of one message or of an atomic batch. Where no answer comes, or the server says that
// another message is the last one, the log looks what is stored (resolve.go). It tries for ever.
package track
