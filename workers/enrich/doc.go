// Package enrich adds what is known about an event's context: where it happened in the
// cluster, what kind of thing happened, which trace it belongs to, and how much it affects.
//
// Four enrichers run over each batch, in this order:
//
//   - kubernetes resolves the event's entity (pod by uid, by namespace and name, or by IP as
//     of the event's time; node; workload; service) and adds resource attributes by the
//     OpenTelemetry semantic conventions 1.44 and related references with the roles owner,
//     workload, node and service. What it asks is a Source; package enrich/kubernetes has two.
//   - semantic adds class, category and severity from a rule table: the user's rules first,
//     then a built-in one.
//   - trace takes a W3C trace context out of traceparent when the event has none, and adds
//     span links to the parent span and to the causing span.
//   - impact adds blast radius, score and criticality from the entity graph; it needs what
//     kubernetes found and the severity that semantic decided.
//
// Each leaves an Enrichment entry with its status on every event: ok, miss, stale (the source
// has lost its cluster) or timeout (the source has not been synchronised yet). A miss is
// visible, never silently empty.
//
// # Guarantees
//
// The stage is stateless: every event is emitted on port out, in its order, with more fields
// and none removed. One value is replaced: the uid of a static pod as the kubelet makes it up. An attribute that the event carries already is kept; what enrich found is
// appended only under keys that the event does not have. No look-up leaves the process, so
// none can block. An event is never attributed by an address or a name to a pod that did not exist
// at its time, as far as the source's memory goes, nor to an object of another API group than it states.
//
// # Cost
//
// What a look-up found is encoded once and kept in a cache per entity: a hit appends bytes.
// The enrichers share one pass over the batch in one goroutine. The engine already calls a
// stateless stage from several goroutines, and splitting a batch further costs more than it
// saves: docs/stages/enrich.md has the figures.
package enrich
