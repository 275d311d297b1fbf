// Package kube starts a real Kubernetes control plane on 127.0.0.1: etcd and
// kube-apiserver, and unless only the API server is wanted also
// kube-controller-manager and kube-scheduler, each a child process.
//
// The API server runs with RBAC, service account tokens, the front-proxy
// (requestheader) client for aggregated APIs and the default admission
// plugins, PodSecurity among them. Certificates are made anew at each start.
// The binaries come from the cache that `make controlplane` fills; see Find.
package kube
