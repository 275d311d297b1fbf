package config

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// APIVersion is the version of the contract that this package reads and writes.
const APIVersion = "millrace.dev/worker/v1"

// Kind names what a stage does.
type Kind string

// The kinds of stage.
const (
	KindValidate  Kind = "validate"
	KindEnrich    Kind = "enrich"
	KindCorrelate Kind = "correlate"
	KindAnalyze   Kind = "analyze"
)

// The ports that the engine and the planner know. `out` and `dead-letter` exist on every
// stage, `insights` on correlate and analyze.
const (
	PortOut        = "out"
	PortDeadLetter = "dead-letter"
	PortInsights   = "insights"
)

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
	// Lanes is the number of lanes of this stage: Partitions, when lane n reads and writes
	// partition n; or 1, when one lane reads all there is and spreads it over the partitions.
	// A lane belongs to one worker at a time.
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
	// DrainTimeout bounds the time between SIGTERM and exit.
	DrainTimeout Duration `json:"drainTimeout"`
	// Chain are stages that run in the same worker and take events from this stage, or from
	// an earlier one of the chain, in memory. Each has one input, with From alone. They have the
	// lanes of this stage.
	Chain []StageConfig `json:"chain,omitempty"`

	// Exactly one of these is set: the one that Kind names.
	Validate  *Validate  `json:"validate,omitempty"`
	Enrich    *Enrich    `json:"enrich,omitempty"`
	Correlate *Correlate `json:"correlate,omitempty"`
	Analyze   *Analyze   `json:"analyze,omitempty"`
}

// PipelineRef names the pipeline that a stage belongs to.
type PipelineRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns namespace/name.
func (p PipelineRef) String() string { return p.Namespace + "/" + p.Name }

// Replays says whether a worker of the stage that takes over a lane reads stored input again, to
// know what the one before knew. So it is with the kinds that are stateful.
func (c *StageConfig) Replays() bool {
	switch c.Kind {
	case KindCorrelate, KindAnalyze:
		return true
	case KindValidate:
		return c.Validate != nil && c.Validate.Dedupe != nil
	default:
		return false
	}
}

// Input is what a stage reads: a durable consumer for each lane, which exist already (a
// worker never creates one), or another stage of the chain.
type Input struct {
	// From is the port that fills the stream, as the manifest names it: ingress, validate/out.
	From string `json:"from"`
	// Stream and Durable are empty for an input from the chain.
	Stream string `json:"stream,omitempty"`
	// Durable is the name of the consumer, without the lane.
	Durable string `json:"durable,omitempty"`
	// Subject is the filter of the consumer; where there are several lanes it ends in the
	// number of the lane, which is not part of it here.
	Subject string `json:"subject,omitempty"`
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
	if lanes <= 1 {
		return i.Subject
	}
	return i.Subject + "." + strconv.Itoa(lane)
}

// OutputFormat says what the messages of an output hold.
type OutputFormat string

// The output formats.
const (
	// FormatFrame packs events of one partition into frames, on <subject>.<partition>.
	FormatFrame OutputFormat = "frame"
	// FormatCloudEvent publishes one structured CloudEvent per message, on
	// <subject>.<stage>.<severity>.<lane>. For what people and other programs read.
	FormatCloudEvent OutputFormat = "cloudevent"
	// FormatRaw publishes what was received, byte for byte, on <subject>.<lane>. For dead letters.
	FormatRaw OutputFormat = "raw"
)

// Output is where a port publishes.
type Output struct {
	Stream string `json:"stream"`
	// Subject is the subject, or its fixed leading tokens (see OutputFormat).
	Subject string       `json:"subject"`
	Format  OutputFormat `json:"format"`
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

// Validate configures a validate stage.
type Validate struct {
	// Rules are CEL expressions over the variable `event`; an event is valid when all are true.
	Rules []Rule `json:"rules,omitempty"`
	// RequiredAttributes name event attributes that must be set (id, source, type, time, ...).
	RequiredAttributes []string `json:"requiredAttributes,omitempty"`
	// MaxFuture and MaxAge bound the event time relative to the clock; 0 = unbounded.
	MaxFuture Duration `json:"maxFuture,omitempty"`
	MaxAge    Duration `json:"maxAge,omitempty"`
	// Dedupe drops events whose id was seen within the window; nil = off.
	Dedupe *Dedupe `json:"dedupe,omitempty"`
}

// Rule is one CEL rule.
type Rule struct {
	Expression string `json:"expression"`
	Message    string `json:"message"`
}

// Dedupe configures the removal of duplicates by source and id.
type Dedupe struct {
	Window Duration `json:"window"`
	// MaxEntries bounds the memory: the oldest ids are forgotten first, and counted.
	MaxEntries int `json:"maxEntries"`
}

// Enrich configures an enrich stage; a nil member is off.
type Enrich struct {
	Kubernetes *EnrichKubernetes `json:"kubernetes,omitempty"`
	Semantic   *EnrichSemantic   `json:"semantic,omitempty"`
	Trace      *EnrichTrace      `json:"trace,omitempty"`
	Impact     *EnrichImpact     `json:"impact,omitempty"`
	Cache      EnrichCache       `json:"cache"`
}

// EnrichKubernetes adds pod, owner chain, workload, node and labels.
type EnrichKubernetes struct {
	// Labels are the pod label keys to copy into the resource; empty copies the app.kubernetes.io/* ones.
	Labels []string `json:"labels,omitempty"`
	// KeepDeleted is how long a deleted object still answers look-ups.
	KeepDeleted Duration `json:"keepDeleted"`
}

// EnrichSemantic adds class, category and severity from a rule table.
type EnrichSemantic struct {
	// Rules come before the built-in table; the first match wins.
	Rules []SemanticRule `json:"rules,omitempty"`
}

// SemanticRule is one row of the rule table. Empty members match everything.
type SemanticRule struct {
	ID string `json:"id"`
	// Type is an event type; a trailing .* matches every type below it.
	Type string `json:"type,omitempty"`
	// Reason is a Kubernetes event reason.
	Reason string `json:"reason,omitempty"`
	// Contains is text that the body must contain.
	Contains string `json:"contains,omitempty"`
	Class    string `json:"class"`
	Category string `json:"category"`
	// Severity is an OpenTelemetry severity number; 0 leaves the event's own.
	Severity int32 `json:"severity,omitempty"`
}

// EnrichTrace normalises the W3C trace context and adds span links.
type EnrichTrace struct{}

// EnrichImpact adds blast radius and score from the entity graph.
type EnrichImpact struct{}

// EnrichCache bounds the cache of look-ups.
type EnrichCache struct {
	MaxEntries int      `json:"maxEntries"`
	TTL        Duration `json:"ttl"`
}

// Correlate configures a correlate stage; a nil member is off.
type Correlate struct {
	Realtime *CorrelateRealtime `json:"realtime,omitempty"`
	Window   *CorrelateWindow   `json:"window,omitempty"`
}

// CorrelateRealtime configures causal and topological rules over a bounded window.
type CorrelateRealtime struct {
	// Within is how far back a cause may lie, in event time.
	Within Duration `json:"within"`
	// MaxEntities bounds the entities that are remembered; the least recently used is forgotten first.
	MaxEntities int `json:"maxEntities"`
	// IncidentIdle closes an incident that saw no event for this long, in event time.
	IncidentIdle Duration `json:"incidentIdle"`
}

// CorrelateWindow groups notable events into tumbling event-time windows.
type CorrelateWindow struct {
	Size Duration `json:"size"`
	// Lateness is how long a window stays open for late events, in event time.
	Lateness Duration `json:"lateness"`
	// MinEvents is how many events make a group worth reporting.
	MinEvents int `json:"minEvents"`
	// MaxEvents closes a group early.
	MaxEvents int `json:"maxEvents"`
}

// Analyze configures an analyze stage; a nil member is off.
type Analyze struct {
	Anomaly *AnalyzeAnomaly `json:"anomaly,omitempty"`
	Trend   *AnalyzeTrend   `json:"trend,omitempty"`
	// MaxSeries bounds the series that are remembered; the least recently used is forgotten first.
	MaxSeries int `json:"maxSeries"`
}

// AnalyzeAnomaly scores each value of a series against what came before.
type AnalyzeAnomaly struct {
	// Threshold is the score, -log10 of the tail probability, from which a value is an anomaly.
	Threshold float64 `json:"threshold"`
	// Warmup is the number of values of a series before any is scored.
	Warmup int `json:"warmup"`
}

// AnalyzeTrend tests each series for a monotonic trend.
type AnalyzeTrend struct {
	// Window is the length of the series that is tested, in event time.
	Window Duration `json:"window"`
	// MinPoints is the number of points a test needs.
	MinPoints int `json:"minPoints"`
}

// Duration is a time.Duration that reads and writes as people write it: "250ms", "24h".
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalJSON writes d as "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads "1m30s". A bare number is an error: its unit would be a guess.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration must be a string such as \"30s\": %w", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}
