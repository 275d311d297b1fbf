// Package node is a small kubelet for tests: it registers nodes, watches the
// pods that the scheduler binds to them and runs each container as a process
// of the host. ConfigMaps, Secrets, tokens, environment, probes, restarts
// with back-off, SIGTERM with its grace period, statuses and events follow
// the kubelet of Kubernetes 1.37.
//
// There is no isolation. Three devices replace it:
//
//   - Each pod gets a loopback address of its own (127.x.y.z) as pod IP.
//     Processes listen on $(POD_IP), so fixed ports never clash.
//   - Each container has a root folder with its mounts below it. Paths in
//     arguments and environment that begin with a mount path are rewritten
//     to the host path; see rewriter.
//   - rest.InClusterConfig reads a fixed path and cannot work. A container
//     with a service account token gets KUBECONFIG, a generated file that
//     refers to the token.
//
// The files, in reading order: options.go, agent.go (nodes, watches),
// pod.go (one goroutine per pod), container.go (one per container), launch.go
// (argv and environment), volumes.go, probe.go, status.go, events.go.
package node
