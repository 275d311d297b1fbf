// Package join brings the branches of a fork together again: one event for each key, when all expected branches have answered or have
// nothing to say (stage.Watermarked).
//
// A barrier opens with the first event of its key. It is complete when each expected branch has answered, or has a watermark that is past the
// barrier. If the deadline comes first, the barrier ends with the answers that it has, or as a dead letter. If there is no room, the oldest barrier
// ends with the answers that it has. An answer to a barrier that has ended in one of these ways is a dead letter (late).
//
// What comes out follows from the order of the input alone. A complete barrier leaves behind the message that completed it, the others at whole
// seconds of stream time. The state is rebuilt from the last three deadlines of the input. The replay begins in the middle of some barriers and opens
// them with the wrong answer; these end within the second deadline, and their keys are forgotten within the third. Snapshots spare the replay.
//
// An event costs one look into a map, a check of its encoding and a copy of it; a result costs decoding the copies.
package join
