// Package controlplane pins the versions of the control-plane binaries that
// the tests run: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kubectl and nats-server. It holds no code; `make
// controlplane` builds the binaries into a cache outside the tree.
package controlplane
