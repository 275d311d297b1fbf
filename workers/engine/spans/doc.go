// Package spans makes the traces of steps: one span for each step at each stage, never one for an event. It begins when the stage
// takes the step up. That of the first stage ends when all that the step caused is stored, those of
// stages that are chained to it when they have decided.
//
// The parent is what the header traceparent of a message of the step says, a sampled one before
// others; the other messages and the traces of the events themselves become links, up to maxLinks of each.
// Frames and insights carry the span in their header traceparent, so the next stage goes on with the same trace.
//
// Without a tracer a step has no trace, and each of its methods returns at once.
package spans
