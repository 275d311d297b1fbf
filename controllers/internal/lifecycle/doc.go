// Package lifecycle is what the controllers of Pipelines and Stages do in the same way: fetch the object, wait for a cache that is
// behind their own writes, keep the finalizer, take the object down, write the status before an error ends the pass, record Events.
//
// A Reconciler embeds a Controller, and gives Pass the steps that differ.
//
// For how long a deletion waits for a NATS server that does not answer is bounded. What counts is since when this operator fails, not
// when the object was deleted: a deletion may have waited for something else until then, or for an operator.
package lifecycle
