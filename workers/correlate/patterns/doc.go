// Package patterns learns which kind of event follows which other: the detector behind correlate: {patterns: {}}.
//
// A pattern says: after an event of kind A, one of kind B follows within a time W, for the same pod, workload, service, node or namespace. The
// package counts how often that holds and how often it would by chance, and finds the patterns for which chance is no explanation.
//
// # What is counted
//
// Every object (key) remembers when it had events of each kind. An event of A begins an episode that lasts for W; more of A within it are the same
// episode. At its end the package looks at each other kind B of that key: did B come within W after A, and in how many of the six stretches of W before
// A? The key is its own control, as in a case-crossover study (Maclure, 1991): what is always there, or comes and goes slowly as by day and night, was
// there before A as well.
//
// # The test
//
// If A says nothing about B, each of the seven stretches may as well be the one behind A. If s of the seven have a B, the one behind A has it with
// probability s/7. Evidence is the likelihood ratio of odds of 8 against that: 8/(s+1) if B came, else 1/(s+1). Its mean is 1 under the null, so the product over
// independent episodes is a test martingale, and stays valid however often somebody looks (Ville, 1939). Of the same key only episodes whose
// stretches do not overlap are tested, and of all keys only one within W: a failure of the whole cluster is one observation, not one for each pod.
// The episode that brings a pair up is not tested.
//
// Many pairs are tested at once. Products of likelihood ratios are e-values, and the e-BH procedure (Wang and Ramdas, 2022) bounds the share of false
// ones among those that it names, whatever the dependence between pairs, and with each look. Every pair that was ever brought up counts as a
// test, also one that is forgotten.
//
// # Sequences
//
// When B completes a known pattern A, B, this counts as an event of a kind of its own, and what follows that is learnt in the same way: A, B, C.
//
// # Time, memory, state
//
// Time is event time. Events wait until all partitions have passed them by ten seconds, and are then taken in the order of their times. The same
// input gives the same findings, byte for byte. Counts lose 2.3 % a day of event time (a half in 30 days), and so does evidence that speaks for a pattern; to make evidence
// smaller keeps the test valid. Memory is bounded (Limits), and what is forgotten for lack of room is counted (Counts).
//
// The package knows no stage, no NATS and no insight: package correlate feeds it with events and publishes its findings.
//
// Cost: BenchmarkPatterns. Parameters, limits and figures: docs/stages/correlate.md.
package patterns
