// Package admission refuses at `kubectl apply` what the operator would refuse a moment later.
//
// The API server checks a Pipeline and a Stage against their schema and its CEL rules. What only a
// whole pipeline can tell, such as an expression that does not compile or a cycle, comes from the
// planner. This package serves the planner as a validating webhook, so that the person who applies
// a manifest sees the error at once, and not in a condition.
//
// The webhook is a convenience and never in the way. Its failurePolicy is Ignore: without an
// operator the API server accepts the object, and the condition Accepted says what is wrong. It
// never refuses a change that leaves the spec as it was, and never the last step of a deletion. An
// input that does not exist yet is a warning: the Stage that it names may be the next object of the
// same file.
//
// A new stage, and one whose from is edited, begins at the oldest stored event. The answer warns of how much that is,
// as far as the status of the Pipeline knows; kubectl shows it, with --dry-run=server too.
//
// A Registration keeps the certificate (package serving) and writes its authority into the
// ValidatingWebhookConfiguration of the chart.
package admission
