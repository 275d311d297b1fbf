// Package local is `millrace run`: a whole pipeline in one process, without a cluster.
//
// It is the one bridge between the planes. It reads a manifest with the reader of
// `millrace lint`, computes the plan with the operator's own planner, applies it to an
// embedded NATS server with JetStream on disk, and runs every stage with the engine that
// workers run. So a pipeline behaves here as it does in a cluster.
//
// A run keeps a ledger: what was stored on every port is counted in the streams
// themselves and compared with what each stage says it did. The closing report's `lost`
// and `duplicated` come from that comparison.
package local
