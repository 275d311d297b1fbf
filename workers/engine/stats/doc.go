// Package stats counts what becomes of the events of a stage, for people (Snapshot) and for Prometheus (Metrics).
package stats
