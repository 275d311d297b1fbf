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
// now. A pod on the host's network is never found by IP. A deleted object answers by uid and
// by name for KeepDeleted longer, and an address that a pod has no longer for as long. What only
// pods name, such as a Job or a node that nobody lists, goes with the last of them.
//
// The workload of a pod follows from its owner reference: a ReplicaSet whose name ends with
// the pod's pod-template-hash label belongs to the Deployment of the rest of the name (only
// the Deployment controller sets that label), a Job whose name ends with a number to the
// CronJob of that name if there is one. ReplicaSets and Jobs are therefore not watched. The
// services of a pod follow from their selectors, which hold also while a pod is not ready.
package kubernetes
