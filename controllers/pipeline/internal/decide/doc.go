// Package decide says what a Pipeline calls for: values in, values out. The Pipeline controller gathers what is Observed and applies
// what is Desired: streams and buckets, child Stages, a revision for each Stage, and what is said of it.
package decide
