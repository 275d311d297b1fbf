// Package stage is the controller of Stages: it makes a stage's durable consumers, the
// ConfigMap with the config of its workers and their Deployment, repairs them for ever,
// and reports lag and ready workers.
//
// It runs the newest revision that the Pipeline controller has compiled (package revision), and reads nothing else of the
// manifests.
//
// A reconcile reads top to bottom in controller.go. Package lifecycle does what both kinds need: fetch, finalizer, status before errors,
// Events. Then come gather (all reads, one snapshot: gather.go), decide (pure: package internal/decide), apply (all writes: apply.go) and
// status (one patch, only when something changed: status*.go). The number of workers is the business of package autoscale. Deletion is in
// delete.go, what has to be processed before it in drain.go, the Kubernetes Events are in events.go.
//
// Consumers exist before workers do, and streams before consumers: a worker creates
// nothing. When the pipeline is refused, the last revision stays in force. When NATS is away, what runs goes
// on as it is.
package stage
