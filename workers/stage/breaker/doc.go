// Package breaker keeps a stage from asking what does not answer: a circuit breaker (Nygard, Release It!) for each thing that a stage calls.
//
// It is closed at first, and calls go through. When too large a part of the calls of a window fail, or are slow, it opens: no call goes through for a
// while. Then it is half-open: some trial calls go through, which close it or open it again.
//
// What becomes of events meanwhile is for the stage to say. The state machine is that of failsafe-go.
package breaker
