// Package diff is `millrace diff`: what applying a manifest would do.
//
// Streams and consumers are compared as the operator compares them (internal/jetstream), and workers as it compiles them
// (internal/revision): the manifest of the cluster and that of the file are compiled with the same settings, so that only the edit
// makes a difference. Nothing is changed. Gathering (gather.go, cluster.go) and comparing (compare.go, workers.go) are apart.
package diff
