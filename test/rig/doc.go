// Package rig runs a planned pipeline on a real NATS server with real worker processes, and
// without Kubernetes. Tests of delivery (test/chaos) and the benchmark (test/bench) stand on it.
//
// Start starts a nats-server process, plans the pipeline with the operator's own planner,
// makes the streams and consumers, and writes the stage configs. No worker runs until
// StartWorker is called; any number of workers may run the same stage. Each part can be
// killed, stopped for a while, and started again on what is stored.
package rig
