// Package sink is the stage that keeps events outside of the pipeline, in one target. Each target is a package of its own below this one;
// Target is all that they have in common.
//
//	postgres  rows of a table
//	file      lines of a file
//	http      requests to a server
//	nats      messages of another stream
//
// The last two have no transactions: their packages say what follows from that. Any other target keeps the place of a lane beside its
// events, in one transaction (stage.Sink). So each event takes effect there once, whatever is killed: see
// docs/adr/0018-a-place-kept-elsewhere.md.
//
// Process makes the row of each event, which needs neither the target nor a lock. What can be no row there, whatever the target says, is a dead
// letter at once. What the target refuses becomes one when it is stored, with its answer.
package sink
