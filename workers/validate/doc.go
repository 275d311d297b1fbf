// Package validate is the stage that decides whether an event is fit to go on: required
// attributes, clock skew, CEL rules, duplicates, in this order, so that an event that is
// not valid never claims an id.
//
// An event that fails is dead-lettered alone, with what is wrong with it. A duplicate ends
// here and is counted. Valid events pass as they came: nothing is added, nothing is
// encoded again.
//
// Rules are conditions of workers/cel. With one that is native there and dedupe an event costs 0.1 us
// without allocation (BenchmarkLogic in test/bench, 2-core AMD EPYC).
//
// # Duplicates
//
// Two events are the same when source and id are (CloudEvents 1.0, section 3.1). An event is
// a duplicate when another one with its identity was seen within the window before it, in
// stream time; a duplicate is seen too. So what is a duplicate follows from the last window
// of the input alone, and a worker that takes over a lane comes to the same decisions by
// replaying that (Horizon, TestReplay).
//
// Ids are remembered as 128-bit xxh3 hashes, 50 bytes an id at most (TestMemoryPerID). The
// memory is bounded by MaxEntries, shared out among the lanes; the id that was seen longest
// ago is forgotten first, and counted by millrace_dedupe_evictions_total.
package validate
