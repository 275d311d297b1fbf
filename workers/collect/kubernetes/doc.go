// Package kubernetes collects what happens in a cluster and publishes it as raw events.
//
// It watches the events of events.k8s.io, and the state of pods, nodes and workloads for
// what has no Event: a container killed for lack of memory shows in containerStatuses alone.
// Of ReplicaSets it watches the metadata, which says whose a pod is; one without a controller
// is a workload itself and is read when its metadata changes. Nothing is polled, and the API server is never held up: a collector that cannot publish
// stops reading, and resumes or lists again later.
//
// # Ids
//
// Every event has an id that follows from the object alone, uid/aspect/value: the third
// restart of container app is always <pod uid>/restarted/app/3, and the state of a series of
// Kubernetes events with count 7 is <event uid>/7. What was published for an object is thus
// the last value of each aspect. This Ledger decides what is new. A series whose count went
// from 3 to 7 is one event with count 4.
//
// Two things have no value in the API. A cordon and a rollout are counted, from what the ledger
// has: <node uid>/cordon/3.true. That a pod is late follows from the clock, its id from when the
// pod began: <pod uid>/start_overdue/<second>.
//
// # No loss and no doubles
//
// The stream is the log and a checkpoint in a NATS KV bucket is its snapshot. A frame is
// published only behind the last message of its subject that the collector knows
// (Nats-Expected-Last-Subject-Sequence), one at a time, and each second what was acknowledged
// is written to the bucket with its stream sequence. After a crash the collector loads the
// checkpoint, reads the frames that the stream has behind it, takes their ids into the ledger,
// and then lists the cluster: what the ledger lacks is published, nothing else. It does not
// matter when the crash came, nor how long the collector was away. A second collector on the
// same subject cannot write: one of the two ends with an error.
// Package collect publishes, keeps the checkpoints and reads frames back; this package has the ledger and what it says about a cluster.
//
// What Kubernetes itself loses is lost here too: Events are best effort and are kept for an
// hour, and of a container that restarted twice while nobody watched only the last end is
// known; its count is right all the same. Absence of an event is no evidence.
package kubernetes
