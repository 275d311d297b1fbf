// Package snapshot stores the state of one lane, and reads it back: pieces under keys of the pipeline's bucket of states, and a manifest
// that says what they are and up to where of the inputs they reach. It knows NATS, and nothing of stages.
//
// The pieces of two generations take turns. The manifest names one of them and is stored last, and each write expects the
// manifest that this worker knows: a worker that lost the lane is refused, and a snapshot that is stored in part is none.
package snapshot
