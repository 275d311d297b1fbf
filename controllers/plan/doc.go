// Package plan turns a manifest into what must exist: streams, consumers and stage
// configs, or refusals with field paths. It is pure: values in, values out, no client, no
// clock, no context. The operator applies a plan to NATS and Kubernetes, `millrace run`
// applies the same plan to an embedded server and goroutines, `millrace lint` prints its
// refusals.
package plan
