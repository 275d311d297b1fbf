// Package view is what a person can see of pipelines: what there is, what flows, what waits, what was found, what died,
// and the way of one event. `millrace top`, `tap`, `trace`, `incidents` and `dlq` print it, and the console serves it.
//
// It reads streams by direct gets and asks for the state of streams and consumers. It makes no consumer and stores
// nothing, so it disturbs no worker, and nothing stays behind when the reader dies. While nobody looks, nothing is read.
//
// Times are those at which streams stored messages, unless a name says event time.
package view
