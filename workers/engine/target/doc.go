// Package target keeps what a lane makes in the target of a sink, with the place of the lane in the same transaction. It is what package track
// is for streams: it finds out where the lane stands, stores behind a fence, and tries for ever.
//
// The place is how far the lane has come in each input, and a name that each attempt has for itself. So the lane knows its own attempt
// again where no answer came. Whoever takes a lane over writes a place of its own first: from then on the worker that had the lane
// before, and may not know that it lost it, stores nothing.
package target
