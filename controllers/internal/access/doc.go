// Package access connects to the NATS server of a Pipeline: its own or the operator's
// default, with what its Secrets and ConfigMaps hold or as the operator's flags say.
//
// files.go says which keys of which objects a connection needs: the operator reads them, and
// mounts the same ones, and no other, into the pods of workers.
//
// pairing.go demands that a Secret says which servers, or which Pipelines, it is for: whoever names it in a manifest may have no right to read it.
//
// The operator may read Secrets but not list or watch them, so that it never holds what no
// Pipeline refers to. What it read is kept for a short time: hundreds of stages of one
// pipeline share one Secret. When NATS refuses it, it is read again at once.
package access
