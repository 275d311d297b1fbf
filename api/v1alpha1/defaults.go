package v1alpha1

import "time"

// The defaults of fields that are immutable or that a rule compares. The definitions hold the same values, so the API server
// and lint write them into each object: a later release with other defaults leaves existing objects as they are.
// Code needs the values where it reads an object that an API server with older definitions serves.
const (
	// DefaultPartitions is spec.partitions.
	DefaultPartitions = 8
	// DefaultIngressSubject is spec.ingress.subject.
	DefaultIngressSubject = "raw"
	// DefaultDeadLettersSubject is spec.deadLetters.subject.
	DefaultDeadLettersSubject = "dead-letter"
	// DefaultMinWorkers is workers.min.
	DefaultMinWorkers = 1
	// DefaultInitialBackoff is retry.initialBackoff.
	DefaultInitialBackoff = 100 * time.Millisecond
	// DefaultMaxBackoff is retry.maxBackoff.
	DefaultMaxBackoff = 5 * time.Second
	// DefaultMinEvents is correlate.window.minEvents.
	DefaultMinEvents = 3
	// DefaultMaxEvents is correlate.window.maxEvents.
	DefaultMaxEvents = 1000
)

// The bounds that both the definitions and code need.
const (
	// MaxNameLength bounds the names of Pipelines, Stages and stages, in bytes: they are values of labels.
	MaxNameLength = 63
	// MaxDeadLetterReason bounds status.deadLetters.last.reason, in bytes.
	MaxDeadLetterReason = 128
	// MaxDeadLetterMessage bounds status.deadLetters.last.message, in bytes.
	MaxDeadLetterMessage = 512
	// MaxConsumers bounds status.consumers.
	MaxConsumers = 64
	// MaxAutoscalingReason bounds status.autoscaling.reason, in bytes.
	MaxAutoscalingReason = 512
	// MaxConditionMessage bounds the message of a condition, in bytes.
	MaxConditionMessage = 32768
)
