// Package e2e tries Millrace as a user does: a real control plane, a real NATS server, the
// chart installed by helm, manifests applied by kubectl, workers as real processes, and
// the cluster's own events as input. `make e2e` gives the steady load of TestSteadyLoad ten minutes.
package e2e
