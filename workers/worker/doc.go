// Package worker is `millrace worker`: one process that runs one stage. It reads the stage
// config that the operator wrote, connects to NATS, builds the stage, runs the engine until
// it is told to stop, and serves what Kubernetes and Prometheus ask for:
//
//	/healthz   200 while the process makes progress; 503 has it restarted
//	/readyz    200 when it is connected and bound to its consumers, with the reason when not
//	/metrics   Prometheus
//	/debug/pprof/  Go profiles, with --pprof alone
//
// The file with the config is looked at every two seconds. Rules and thresholds that changed
// (config.StageConfig.Fixed) reach the engine as it runs; anything else takes a restart, which is
// the operator's. A config that is wrong ends a worker that starts, never one that runs. A NATS
// server that cannot be reached is waited for, now and at any later time.
package worker
