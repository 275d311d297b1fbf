// Package permissions is `millrace nats-permissions`: it prints the NATS users of a pipeline and what
// each may do, as configuration of a NATS server, as commands of nsc, or as JSON. What they may do is
// decided by package plan; this package writes it down.
package permissions
