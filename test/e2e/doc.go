// Package e2e tries Millrace as a user does: a real control plane, a real NATS server, the
// chart installed by helm, manifests applied by kubectl, workers as real processes, and
// the cluster's own events as input.
//
// `make test` runs what takes a minute. What takes several has the build tag e2e, and `make e2e` runs
// all of it: autoscaling by the real autoscaler, a steady load of ten minutes, every alert in a
// real Prometheus, and what the sample pipeline says of a cluster in which all goes well
// (TestHealthyHalfHour) or nine workloads break (TestBreakages), and an upgrade from an earlier release (TestUpgrade,
// which `make upgrade` runs alone). The flag -healthy makes TestHealthyHalfHour go
// on for that long: make e2e E2E='-healthy 30m'.
package e2e
