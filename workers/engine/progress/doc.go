// Package progress says how far a lane has come: which part of its input is done, and which outputs of the step that was
// under way are stored. It knows no NATS and no clock.
//
// A lane works in steps. It stores all outputs of a step, on several subjects, then acknowledges the input of the step, and
// only then stores the next one. So when a worker dies, everything before one step is done, and that step alone may be stored in
// part. Each output says
//
//   - how far it reaches into each input (Reach): the fence of its subject rests on it,
//   - up to where everything is done (the end of the step before it),
//   - which items it holds (Items).
//
// The worker that takes the lane over reads the outputs of the last step back, and knows what of it is stored (Doubt).
// It takes the input of that step through the stages again. These may decide otherwise: what is stored stays, what is not
// is stored as it is decided now. So no event is lost or doubled, whatever a stage decides at the second try.
//
// An item is a received event, known by its place in the input, or a new one, known by its id: which messages a worker has in
// one batch, and so where in the input a new event is made, may differ between two tries.
package progress
