// Package natsserver starts NATS servers with JetStream for tests: as a
// process of its own, which a test may kill -9 and start again on the same
// port and store, or embedded in the test's process, which starts faster.
// Both read the same generated configuration file.
package natsserver
