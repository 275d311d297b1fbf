// Package access connects to the NATS server of a Pipeline: its own or the operator's
// default, with the credentials of a Secret or the operator's own.
//
// The operator may read Secrets but not list or watch them, so that it never holds what no
// Pipeline refers to. What it read is kept for a short time: hundreds of stages of one
// pipeline share one Secret.
package access
