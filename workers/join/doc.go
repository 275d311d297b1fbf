// Package join brings the branches of a fork together again: one event for each key, when all branches that are waited for have answered, or
// have said that they have nothing to say (stage.Watermarked).
//
// A barrier opens with the first event of its key. It is complete when each expected branch has answered or its watermark is past the barrier.
// A barrier that waits longer than the deadline ends as partial, or as a dead letter; one that there is no room for ends as partial.
// What comes for a barrier that has ended so is a dead letter (late).
//
// What comes out follows from the order of the input alone: barriers that are complete leave behind the message that completed them, those that
// have waited too long at whole seconds of stream time. The state is rebuilt from the last three deadlines of the input: a barrier that opens in the
// replay because its beginning lies before that has ended when the replay is over. Snapshots spare that.
//
// An event costs one look into a map, a check of its encoding and a copy of it; a result costs decoding the copies.
package join
