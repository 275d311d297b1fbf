// Command operator measures what the operator itself costs when there are many pipelines, in a
// real control plane with a real nats-server. `make bench-operator` runs it; docs/operator.md has
// the figures and says how to read them.
//
// The operator runs as a process of its own, which is this binary again, so that its CPU time is
// counted alone and its requests by kind. There is no node: the pods of the workers stay pending,
// which is what a machine of two cores can bear for a thousand of them.
//
// # Phases
//
//	empty    all Pipelines are created; the clock runs until all streams and consumers are as
//	         wanted and every Stage has its Deployment
//	idle     nothing happens: CPU, and requests that write (there must be none)
//	restart  the operator starts anew and looks at everything: time, CPU, requests that write
//	         (there must be none)
//	repair   a stream, a consumer, a bucket and a Deployment are deleted by hand: time until each
//	         is back
//	mute     one more pipeline is made, alone, at the same time as 20 others, and as 20 others of
//	         which each has a NATS server that accepts connections and answers nothing: time until
//	         it is ready
package main
