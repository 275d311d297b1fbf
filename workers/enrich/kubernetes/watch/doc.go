// Package watch lists and watches one Kubernetes resource straight into callbacks, with the
// reflector that client-go's informers are built on.
//
// An informer would keep its own copy of each object; who keeps something smaller, or nothing,
// takes a Feed. A Feed lists (as a stream where the server can), watches, resumes from the
// last resource version after a broken connection, and lists again when that version has
// expired. It says once when it loses its cluster or its rights, and once when it has them
// again, and never ends by itself.
package watch
