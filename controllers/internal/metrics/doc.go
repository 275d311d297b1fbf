// Package metrics shows Pipelines and Stages to Prometheus: what their status says, read from the
// operator's cache when it is scraped. Nothing is kept, so nothing can be forgotten: the series of a
// deleted object are gone with it.
//
// Only the leader shows them, so that two replicas do not count everything twice. A number that is
// not known at present (the lag while NATS is away) is left out, never repeated.
package metrics
