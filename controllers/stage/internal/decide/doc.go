// Package decide says what a Stage calls for: values in, values out. The Stage controller gathers what is Observed and applies what
// is Desired.
//
// While a former input has events left, the workers are of the revision that reads it: former.go.
package decide
