// Package config is the one contract between the control plane and the data plane: the
// operator writes a StageConfig into a ConfigMap, a worker reads it and does what it says.
// `millrace run` hands the same value to the same engine in one process.
//
// The contract is versioned (APIVersion) and strict: an unknown field is an error, so that
// an operator and a worker of different versions never misunderstand each other silently.
package config
