// Package apply persists desired objects by server-side apply, and only when that would
// change something.
//
// Server-side apply of what is there already changes nothing in the API server, but is a
// write request all the same: 1,000 stages that are checked every few seconds would be a
// steady load of no-op writes. The live object knows which fields this operator applied
// last (metadata.managedFields), so Needed compares exactly those with what is desired:
// fields that others own, and defaults of the server, do not count. An Applier remembers
// which version of an object it has compared, so that a steady state costs next to nothing.
package apply
