// Package compare is the stage that says which variant of an experiment does better. It reads what the variants made, counts how often each has an
// outcome, and tells a report every interval and one insight for the whole experiment.
//
// # The test
//
// Reports are looked at again and again, and a test that is made for one look says "significant" far too often then. So the test here is
// valid at every look: the mixture sequential probability ratio test (Robbins 1970; for A/B tests Johari, Koomen, Pekelis and Walsh 2017) of the
// difference d of two rates with variance v,
//
//	ratio = sqrt(v / (v + t)) * exp(t*d*d / (2*v*(v + t))),  t = (effect * rate of both) squared
//
// Its p is the least 1/ratio seen so far. Several candidates share the probability of a false alarm (Bonferroni).
//
// # What counts as one observation
//
// An experiment gives keys to variants, not events, and the events of one key resemble each other. So keys are thrown into 64 groups by a
// hash, and the variance is that between groups: a key that makes a thousand events counts as one key. The rate is that of all events
// (a ratio estimator).
//
// With mode Mirror the same event has an outcome in each variant. The difference is then taken event by event, so that
// what the event itself does to the outcome cancels out, and how often two variants agree is counted.
//
// # Restarts
//
// The sums of the whole experiment are in the insight itself (attribute compare.state), which every report revises. A worker that takes the
// lane over reads it back (stage.Recaller) and replays what came after it: what people see goes on from where it was.
package compare
