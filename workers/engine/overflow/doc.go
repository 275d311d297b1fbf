// Package overflow knows what one lane has sent to the overflow of its stage and what of that is replayed, so that events follow those of their key
// that are still there. It knows neither NATS nor stages.
//
// Steps that send something there have numbers. When a step is stored, it is known up to where in the stream it reaches; the replay says
// how far it has come. A key counts as there as long as the last step that sent an event of it is not replayed. At a takeover nobody knows the keys of
// what is there, and every key counts as there until that is replayed; so it is with more keys than maxKeys.
//
// Events that come faster than they are replayed one by one would follow for ever, though nothing is in their way but each other. So a lane
// whose replay has nearly caught up waits for a moment, until the last event is replayed (Patience).
package overflow
