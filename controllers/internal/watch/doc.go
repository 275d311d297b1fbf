// Package watch wakes the controllers when what they keep in NATS may have changed, so that the
// regular look at everything is only the safety net and may be rare.
//
// A reconcile says at its end what it looked after (Follow). From then on it is woken
//
//   - when a server tells that one of its streams or consumers was changed or deleted,
//   - when the connection to its server was lost, or is back,
//   - when a pipeline's ingress has got events since the last pulse, so that lag and other
//     numbers are fresh while events flow and cost nothing while they do not,
//   - when its credentials changed.
//
// A pulse is one small request per pipeline in each interval. All of it is hints: what wakes a
// reconcile too often costs a look, what is missed waits for the resync.
package watch
