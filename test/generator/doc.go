// Package generator writes the events of ten minutes in a cluster that does not exist: a
// seeded story with planted incidents and the truth about them. The demo, the tests of whole
// pipelines and the benchmarks read it.
//
// Generate is a pure function of its options: the same seed and end give the same bytes.
//
// # The cluster
//
// 20 nodes, 6 namespaces, 25 workloads with 500 pods (23 Deployments, a StatefulSet and a
// DaemonSet), a service for each workload that listens, and a call graph between them. The
// cluster is also written as Kubernetes objects, as kubectl prints them, so that the
// Kubernetes enricher knows what the events are about.
//
// # Event types
//
//	app.log                        a line of a program; log.logger, log.errorType
//	app.request                    a span of a request; http.* attributes, span.peerService
//	metric.sample                  k8s.pod.memory.working_set (By, attribute metric.limit),
//	                               k8s.pod.cpu.usage ({cpu}), http.server.request.duration.p95 (ms)
//	network.flow                   a connection; some name their pod by IP alone
//	kernel.syscall                 a system call; the pod is named by uid alone
//	k8s.event                      an Event of Kubernetes; kubernetesEvent.reason says which
//	k8s.pod.*                      oom_killed, crash_loop_back_off, image_pull_back_off,
//	                               restarted, evicted, unschedulable, not_ready
//	k8s.node.*                     not_ready, ready
//	k8s.deployment.*               image_changed, config_changed, scaled
//
// The types and attributes of k8s.* are those that workers/collect/kubernetes publishes.
//
// # Incidents
//
// What is planted follows the fault chains of ITBench's scenarios. Incident.Kind says which:
//
//	node-not-ready       a node goes away: its pods are not ready, evicted, created elsewhere
//	oom                  memory of a workload's pods rises to its limit: killed, restarted,
//	                     backed off, and callers of its service get errors
//	image-pull           a Deployment gets an image that does not exist
//	config-crash-loop    a Deployment gets a configuration that its program refuses
//	latency-spike        one series of latencies, with a sample each second, leaves its range for half a minute
//	unschedulable        a Deployment is scaled beyond what the cluster's CPUs hold
//
// Everything else is a healthy cluster with the noise that healthy clusters have: a few
// failed requests, warnings and probe failures that mean nothing.
//
// # What is wrong on purpose
//
// On request the lines hold events that lack a required attribute (invalid), lines that are
// not JSON (undecodable), and lines that come a second time within two seconds of the story
// (duplicates). Truth counts them.
package generator
