// Package lifecycle is what the controllers of Pipelines and Stages do in the same way: fetch the object, wait for a cache that is
// behind their own writes, keep the finalizer, take the object down, write the status before an error ends the pass, record Events.
//
// A Reconciler embeds a Controller, and gives Pass the steps that differ.
//
// A deletion waits only a limited time for a NATS server that does not answer. The time counts from the first failure of this operator, not
// from the deletion of the object: it may have waited for something else until then, or for an operator.
package lifecycle
