// Package stage is the controller of Stages: it makes a stage's durable consumers, the
// ConfigMap with its revision and the Deployment of its workers, repairs them for ever,
// and reports lag and ready workers.
//
// A reconcile reads top to bottom in controller.go: fetch, finalizer, gather (all reads,
// one snapshot: gather.go), decide (pure: plan*.go), apply (all writes: apply.go), status
// (one patch, only when something changed: status.go). Deletion is in delete.go, what has to be
// processed before it in drain.go, the Kubernetes Events are in events.go.
//
// What the workers are made from is a revision (revision.go): it stays while only the operator
// changes.
//
// Consumers exist before workers do, and streams before consumers: a worker creates
// nothing. What a stage does is decided by the plan of the whole pipeline; this controller
// takes its own slice of it. When the pipeline is refused or NATS is away, what runs goes
// on as it is.
package stage
