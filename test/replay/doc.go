// Package replay runs a stateful stage the way the engine does, and shows that what it does
// follows from its input: Process once for each input message, Flush at whole seconds of
// stream time between messages, a new instance that is rebuilt by the input of the last
// Horizon after the one before was dropped.
package replay
