// Package chaos breaks a running pipeline and counts its events: none may be lost and none
// doubled, whatever is killed, stopped, filled or deleted. README.md tells what each fault shows.
//
// A run stands on test/rig: a real nats-server process and real worker processes. A story
// (test/generator) is cut into numbered messages: single events, NDJSON and frames, with
// duplicates, invalid events and garbage among them (input.go). A publisher sends them until
// each is confirmed (publisher.go). Meanwhile a fault does its work (faults.go, world.go). Then
// the ledger reads every stream from end to end:
//
//	RAW_EVENTS        each confirmed message once. Its order is the truth for what follows.
//	VALIDATED_EVENTS  each valid event once, duplicates not at all, partitions in the order of RAW
//	ENRICHED_EVENTS   the same
//	DEAD_LETTERS      each invalid event and each piece of garbage once
//	CORRELATED_EVENTS, ANALYTICS_RESULTS, INSIGHTS
//	                  what fresh stages make of ENRICHED_EVENTS as it is stored, in the same
//	                  order (oracle.go): no engine and no NATS take part in that
//
// A second pipeline has a stage of every kind (kinds.go), whose settings change as well. Its ledger
// (kinds_ledger.go) knows what becomes of each event by each of the settings that a stage has had.
package chaos
