package config

import (
	"slices"
	"strconv"
	"time"
)

// APIVersion is the version of the contract that this package reads and writes.
const APIVersion = "millrace.dev/worker/v1"

// StageConfig is everything one worker needs to run one stage.
type StageConfig struct {
	APIVersion string `json:"apiVersion"`
	// Pipeline and Stage name what this worker runs: they label metrics, logs and insights.
	Pipeline PipelineRef `json:"pipeline"`
	Stage    string      `json:"stage"`
	Kind     Kind        `json:"kind"`
	NATS     NATS        `json:"nats"`
	// Partitions is the number of partitions of the pipeline, fixed when it is made.
	Partitions int `json:"partitions"`
	// Lanes is the number of lanes of this stage: Partitions, when lane n reads partition n, and writes
	// it or, with Output.Repartition, all of them; or 1, when one lane reads all there is and spreads it
	// over the partitions. A lane belongs to one worker at a time.
	Lanes int `json:"lanes"`
	// Leases is the NATS KV bucket in which the workers of the stage agree on who owns which
	// lane; empty = there is one worker, which owns all of them.
	Leases string `json:"leases,omitempty"`
	// Inputs are the durable consumers that this stage reads.
	Inputs []Input `json:"inputs"`
	// Outputs maps a port to where what leaves through it is published.
	Outputs map[string]Output `json:"outputs"`
	Batch   Batch             `json:"batch"`
	Retry   Retry             `json:"retry"`
	// Breaker is for stages that call others (Calls); nil = they call whatever comes of it.
	Breaker *Breaker `json:"breaker,omitempty"`
	// DrainTimeout bounds the time between SIGTERM and exit.
	DrainTimeout Duration `json:"drainTimeout"`
	// Chain are stages that run in the same worker and take events from this stage, or from
	// an earlier one of the chain, in memory. Each has one input, with From alone. They have the
	// lanes of this stage.
	Chain []StageConfig `json:"chain,omitempty"`

	// Exactly one of these is set: the one that Kind names.
	Validate   *Validate   `json:"validate,omitempty"`
	Enrich     *Enrich     `json:"enrich,omitempty"`
	Correlate  *Correlate  `json:"correlate,omitempty"`
	Analyze    *Analyze    `json:"analyze,omitempty"`
	Route      *Route      `json:"route,omitempty"`
	Transform  *Transform  `json:"transform,omitempty"`
	Experiment *Experiment `json:"experiment,omitempty"`
	Compare    *Compare    `json:"compare,omitempty"`
	Gather     *Gather     `json:"gather,omitempty"`
	Sink       *Sink       `json:"sink,omitempty"`
	Join       *Join       `json:"join,omitempty"`
}

// PipelineRef names the pipeline that a stage belongs to.
type PipelineRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns namespace/name.
func (p PipelineRef) String() string { return p.Namespace + "/" + p.Name }

// Input is what a stage reads: a durable consumer for each lane, which exist already (a
// worker never creates one), or another stage of the chain.
type Input struct {
	// From is the port that fills the stream, as the manifest names it: ingress, validate/out.
	From string `json:"from"`
	// Stream and Durable are empty for an input from the chain.
	Stream string `json:"stream,omitempty"`
	// Durable is the name of the consumer, without the lane.
	Durable string `json:"durable,omitempty"`
	// Subject is the filter of the consumer; where there are several lanes, the number of the lane
	// follows behind it, and is not part of it here.
	Subject string `json:"subject,omitempty"`
	// Repartitioned says that something follows behind the partition in the subjects of the stream: the lane that wrote, for
	// outputs with Repartition, and the subject that was published on, at an ingress where the server chooses the
	// partition (see SubjectTransform).
	Repartitioned bool `json:"repartitioned,omitempty"`
	// Writers is how many lanes write to each partition of the stream, where their messages carry watermarks (Output.Watermarks), and 1 for
	// an ingress whose times are the watermarks of what follows; 0 = the watermarks of the input are not followed.
	Writers int `json:"writers,omitempty"`
	// Overflow says that it is the overflow of the stage itself: what lane n has sent there is replayed by a lane beside it (ReplayLane).
	Overflow bool `json:"overflow,omitempty"`
	// Start and End bound what the stage takes of the stream, by when it was stored: from Start on and before End. What is outside passes by unprocessed.
	// Zero = no bound.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
}

// Takes says whether the stage takes a message that was stored at a time, Unix nanoseconds.
func (i Input) Takes(stored int64) bool {
	return (i.Start.IsZero() || stored >= i.Start.UnixNano()) && (i.End.IsZero() || stored < i.End.UnixNano())
}

// BeginsAtTime says that the stage was attached to process stored input again, from a time on.
func (c *StageConfig) BeginsAtTime() bool {
	return slices.ContainsFunc(c.Inputs, func(in Input) bool { return !in.Start.IsZero() })
}

// Consumer returns the name of the durable consumer of a lane, of lanes in all.
func (i Input) Consumer(lane, lanes int) string {
	if lanes <= 1 {
		return i.Durable
	}
	return i.Durable + "-" + strconv.Itoa(lane)
}

// Filter returns the subject that the consumer of a lane reads, of lanes in all.
func (i Input) Filter(lane, lanes int) string {
	if i.Overflow { // of what the lane has written, of whatever partition
		return i.Subject + ".*." + strconv.Itoa(lane)
	}
	if lanes <= 1 {
		return i.Subject
	}
	filter := i.Subject + "." + strconv.Itoa(lane)
	if i.Repartitioned {
		filter += ".>"
	}
	return filter
}

// Batch bounds what a worker holds and how it packs frames.
type Batch struct {
	// MaxEvents is the number of events that one call of Process sees at most, and that one
	// frame holds at most.
	MaxEvents int `json:"maxEvents"`
	// MaxBytes is the size of one frame before compression at most.
	MaxBytes int `json:"maxBytes"`
	// Linger is how long a frame waits for more events.
	Linger Duration `json:"linger"`
	// MaxInFlightBytes bounds the input that is received and not yet acknowledged.
	MaxInFlightBytes int `json:"maxInFlightBytes"`
}

// Retry is how a worker treats retryable errors.
type Retry struct {
	// MaxAttempts is how often an event is tried before it is dead-lettered.
	MaxAttempts int `json:"maxAttempts"`
	// InitialBackoff is the wait before the second attempt; each next wait doubles.
	InitialBackoff Duration `json:"initialBackoff"`
	MaxBackoff     Duration `json:"maxBackoff"`
}
