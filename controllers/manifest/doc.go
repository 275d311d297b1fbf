// Package manifest reads the files that people write: it finds every problem that the API
// server or the planner would refuse, with file, line and field path, and without a cluster.
//
// The checks are those of the API server itself, run in this process on the definitions that
// are installed (config/crd): unknown fields, types, bounds, list types and CEL rules give the
// same messages. What only a whole pipeline can tell comes from controllers/plan.
//
// `millrace lint` prints the problems; `millrace run` takes the result and its plan.
package manifest
