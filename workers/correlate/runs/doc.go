// Package runs names root causes from spans, logs and metrics: the detector behind correlate: {runs: {}}.
//
// A run is one request that a service handles: its server span, with what was logged and called for it. Of each route the
// package knows what its runs usually say, whom they call and how long they take, over the last hour (the norm), and
// compares the last minute with it. What differs is evidence, in nats: the logarithm of how much less likely it is under
// the norm. A run that a called service explains, because that one was odd itself, counts for the called service alone.
// Evidence makes a ranking of services, and a ranking that is sure enough makes a finding.
//
// Time is event time. The same input gives the same findings, byte for byte: all walks have a fixed order, and the
// sums of a norm are made of its buckets again each time. Memory is bounded (Limits); what is forgotten for lack of room
// is counted (Counts).
//
// The package knows no stage, no NATS and no insight: package correlate feeds it with events and publishes its findings.
//
// Cost: BenchmarkRuns. Algorithm, parameters and figures: docs/stages/correlate.md.
package runs
