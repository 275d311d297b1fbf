// Package chain takes the events of messages through one stage, or through several that are chained, and says what is to be
// stored: events in, outputs out. It has no connection and no clock of its own. Whoever makes a Chain gives it the time, and
// the waits between two attempts.
//
// # The way of a message
//
//	Take      decodes a message; loose messages are decoded together         (take.go)
//	node      has one stage decide about its events, and then its children   (process.go)
//	decide    calls the stage; finds the event to blame; tries again         (decide.go, call.go)
//	route     turns each decision into an output                             (process.go, emit.go)
//	pack      puts an event into the frame that is open for its outlet       (emit.go, frame.go)
//	Encode    completes a frame, when its step is about to be stored         (encode.go)
//
// A Step collects what the messages of one turn led to: Pending outputs by Outlet, and a Tally for each stage. An outlet is
// one subject that the lane writes to. What is stored there already (package progress) is not made again.
//
// # Two goroutines
//
// A long chain is cut in two (cut.go). While the stages downstream of the cut are at a message, those before it take the next
// one, and a third goroutine decodes the one after that.
//
// # Stages that wait for answers
//
// An asynchronous first stage is given the next messages while it waits; outputs keep the order of the input (async.go).
//
// # What goes wrong
//
// A stage that fails on several events is given them one by one. An event that it cannot take becomes a dead letter
// (deadletter.go). A stage with state that panics ends the session: the lane rebuilds the state, and gives the
// events of that message to the stage one by one (suspect.go).
//
// # Time
//
// FlushUntil flushes the stages at each whole second of stream time, or more often where one asks for it (flush.go). A replay of the same input makes the same
// outputs at the same positions.
package chain
