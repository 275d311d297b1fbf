// Package journal keeps what the operator did and why: each Kubernetes Event that a controller records is a line of the operator's
// log, too. An Event is gone after an hour; a log is where one looks for what happened last night.
package journal
