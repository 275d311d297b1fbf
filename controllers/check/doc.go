// Package check is `millrace check`: it looks at what an installation rests on, as the operator sees it, and
// says plainly what is wrong and what to do. `helm test` runs it, with the operator's own flags and credentials.
//
// It asks NATS for its version and for JetStream with its limits, and the cluster for the custom resource
// definitions and for an operator that leads. What may come right by itself, such as a server that is starting, is
// tried again for --timeout. It changes nothing.
package check
