// Package pipeline is the controller of Pipelines: it makes their streams, the bucket in
// which their workers agree on lanes, one child Stage for each of their stages, and for each Stage, attached ones
// too, the revision that it is to run; it repairs all of it for ever, and sums up their state.
//
// A reconcile reads top to bottom in controller.go. Package lifecycle does what both kinds need: fetch, finalizer, status before errors,
// Events. Then come gather (all reads, one snapshot: gather.go), decide (pure: package internal/decide), apply (all writes: apply*.go) and
// status (one patch, only when something changed: status.go). Deletion is in delete.go, the Kubernetes Events are in events.go.
//
// What the Stage controller does with the child Stages is in controllers/stage.
package pipeline
