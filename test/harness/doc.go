// Package harness gives tests what Millrace runs on, for real and without
// containers: a Kubernetes control plane (package kube), nodes that run pods
// as host processes (package node) and NATS servers (package natsserver).
//
// Its functions take a testing.TB, fail the test on errors, stop everything
// in t.Cleanup and print the ends of the logs when the test has failed. The
// packages below return errors instead and serve programs such as
// hack/cluster. README.md has a tour and the traps.
package harness
