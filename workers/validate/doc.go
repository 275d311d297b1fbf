// Package validate is the stage that decides whether an event is fit to go on: required
// attributes, clock skew, CEL rules, duplicates, in this order, so that an event that is
// not valid never claims an id.
//
// An event that fails is dead-lettered alone, with what is wrong with it. A duplicate ends
// here and is counted. Valid events pass as they came: nothing is added, nothing is
// encoded again.
//
// Required attributes and clock skew cost about 0.1 us an event, a rule such as
// event.severity > 8 && event.id != "" 0.3 us and one allocation for each text that it reads, duplicates
// 0.2 us without allocation (BenchmarkProcess, 2-core AMD EPYC).
//
// # Duplicates
//
// Two events are the same when source and id are (CloudEvents 1.0, section 3.1). Ids are
// remembered for the window, in processing time, as 128-bit xxh3 hashes together with the
// origin that claimed them, 48 bytes an id at most: an event that is delivered again after a failure has its own
// origin and is no duplicate. The memory is bounded by MaxEntries; what is forgotten before
// its time is counted by millrace_dedupe_evictions_total. It lives in the worker: after a
// restart, ids seen before it are unknown. A stage with dedupe is stateful, it has one worker.
package validate
