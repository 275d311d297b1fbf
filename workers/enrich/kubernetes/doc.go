// Package kubernetes answers the look-ups of the enrich stage from a compact copy of a
// cluster: pods with their owners, nodes, workloads, services and namespaces.
//
// The copy is a Store. Two sources fill one: NewInformers keeps it up to date through the
// list and watch machinery of client-go, LoadSnapshot reads a file that `kubectl get -o json`
// wrote. The store is not a cache of API objects: it keeps what a look-up needs, with equal
// strings kept once, in less than 1 kB for a pod.
//
// Look-ups are as of an event's time. An IP address remembers its last two pods and when each
// had it, so that a late event finds the pod of its time and not the one that has the address
// now. A name says which pod of that name it was as long as the store remembers them: an event from
// before the pod that has the name, and from before what the store remembers, finds none. A pod on the
// host's network is never found by IP. A deleted object answers by uid and
// by name for KeepDeleted longer, and an address that a pod has no longer for as long. What only
// pods name, such as a Job or a node that nobody lists, goes with the last of them.
//
// The workload of a pod follows from owner references: its own, and that of its ReplicaSet or Job.
// Of a ReplicaSet that nobody has seen the pod's pod-template-hash label tells the Deployment (the
// ReplicaSet's name ends with it, and only the Deployment controller sets that label), and
// rollouts-pod-template-hash the Rollout. The name alone decides only for a Job that nobody has seen:
// one that ends with a number belongs to the CronJob of that name if there is one, and the facts say
// that this is a guess. A static pod, which its node owns, has no workload. An apiVersion that a query
// states must match by its group. The services of a pod follow from their selectors, which hold also
// while a pod is not ready.
package kubernetes
