// Package status turns verdicts into conditions, the same way for every kind (kstatus:
// https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).
//
// A controller gives one Verdict per condition, in order of importance. Ready is the first
// verdict that is not true, or true. Reconciling is there, and true, while the operator
// is at work or waits for something that may come by itself; Stalled is there, and true,
// when a person has to act. At most one of the two exists.
package status
