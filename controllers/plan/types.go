package plan

import (
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// MaxAttached is how many Stages users may attach to one Pipeline. All of them are planned together, again after each change of one.
const MaxAttached = 256

// Input is everything a plan follows from.
type Input struct {
	Pipeline *v1alpha1.Pipeline
	// Stages are attached with pipelineRef by users; never the children that the Pipeline
	// controller made of the Pipeline's own stages.
	Stages []v1alpha1.Stage
	// DefaultNATSURL is the server of pipelines that name none; without it they are refused.
	DefaultNATSURL string
	// DefaultDomain is the JetStream domain that DefaultNATSURL reaches; empty = its own JetStream.
	DefaultDomain config.Domain
	// Lanes are those that the stages run in, by the name of the Stage object; of the others it says nothing. A plan that changes them is
	// refused.
	Lanes map[string]int `json:"-"`
	// Expressions are for callers that make several plans of the same stages: to compile expressions takes most of the time
	// of a plan. Without them Compute makes its own when it needs some.
	Expressions *Expressions `json:"-"`
}

// Plan is what one pipeline needs.
type Plan struct {
	Namespace, Name string
	SubjectPrefix   string
	Partitions      int
	// PowerSafe says that the server has to sync every message to disk before it confirms it.
	PowerSafe bool `json:",omitempty"`
	// Ingress is where collectors publish; its only subject is <prefix>.<subject>.>
	Ingress Stream
	// Streams are all streams of the pipeline, in a stable order: ingress, the streams of
	// port out in the order of Stages (not those that are only read inside a worker, or that the kind does not have), insights
	// (when a stage emits them), dead letters.
	Streams []Stream
	// Leases is where the workers agree on who owns which lane.
	Leases Leases
	// States is where lanes keep snapshots of their state; zero when no stage has any to keep.
	States States `json:",omitzero"`
	// Warnings are what the manifest may have and users should know, with field paths.
	Warnings []string `json:",omitempty"`
	// Stages are in topological order: a stage stands behind all stages it reads; otherwise
	// as in the manifest.
	Stages []Stage
}

// Stream is one JetStream stream: Limits retention, DiscardNew. AllowDirect: a worker that
// takes over a lane reads many stored messages in one request to rebuild the state of the
// lane. AllowAtomicPublish: several dead letters or insights of one step of a lane are
// stored all or none.
type Stream struct {
	Name     string
	Subjects []string
	// Ports are what fills the stream: ingress, validate/out, correlate/insights.
	Ports []string
	// Memory selects memory storage instead of files.
	Memory          bool
	Replicas        int
	MaxAge          time.Duration
	MaxBytes        int64 // -1 = unlimited
	DuplicateWindow time.Duration
	// Transform of the subjects that messages are stored on; zero = none, and what somebody has set stays.
	Transform Transform `json:",omitzero"`
	// Graph is what readers of the pipeline need to know, for the metadata of the ingress stream (EncodeGraph); other streams have none.
	Graph string `json:"-"`
}

// Transform is a subject transform of a stream.
type Transform struct{ Source, Destination string }

// Leases is a NATS KV bucket: a few keys for each stage, of each its newest value only, without expiry.
type Leases struct {
	Bucket string
	// Memory selects memory storage instead of files.
	Memory   bool
	Replicas int
}

// Stream is the name of the stream that holds the bucket.
func (l Leases) Stream() string { return "KV_" + l.Bucket }

// Key is where the table of a stage is stored, by the name of the stage whose workers share it.
func (l Leases) Key(stage string) string { return "$KV." + l.Bucket + "." + stage }

// Subject is what the keys are stored below.
func (l Leases) Subject() string { return config.KeySubject(l.Bucket, ">") }

// States is a NATS KV bucket: of each key its newest value only, until it is StatesMaxAge old. A lane has some keys for the pieces of
// its last two snapshots. None is needed: without one, a takeover replays more input.
type States struct {
	Bucket string
	// Memory selects memory storage instead of files.
	Memory   bool
	Replicas int
}

// Stream is the name of the stream that holds the bucket.
func (s States) Stream() string { return "KV_" + s.Bucket }

// Subject is what the keys are stored below.
func (s States) Subject() string { return config.KeySubject(s.Bucket, ">") }

// Buckets are the names of the streams that hold the KV buckets of the plan.
func (p *Plan) Buckets() []string {
	if p.States.Bucket == "" {
		return []string{p.Leases.Stream()}
	}
	return []string{p.Leases.Stream(), p.States.Stream()}
}

// Stage is one node of the graph.
type Stage struct {
	Name string
	// Object is the name of the attached Stage object; empty for the Pipeline's own stages.
	Object string `json:",omitempty"`
	// Head is the stage in whose workers a chained stage runs; empty for a stage with workers of
	// its own. A chained stage has no consumers and no replicas, the lanes of its head, and its
	// Config is also in Config.Chain of its head.
	Head string `json:",omitempty"`
	// Lanes is the number of lanes: the number of partitions when all inputs have partitions, else 1.
	// Each belongs to one worker at a time.
	Lanes int
	// Replicas is the number of workers, whether suspended or not. Those beyond Lanes wait
	// for the lanes of one that ends.
	Replicas  int32
	Suspended bool
	// Secrets are the values that the pods of the workers mount as files, sorted by file: the stage's own, and those of the stages
	// that are chained to it. A chained stage has none.
	Secrets []config.SecretFile `json:",omitempty"`
	// Models are what workers mount of ConfigMaps.
	Models []config.ModelFile `json:",omitempty"`
	// Consumers are those of Config.Inputs in their order, and of each the lanes from 0.
	Consumers []Consumer
	// Config is what a worker obeys. NATS has no files: which there are is decided by whoever
	// starts the worker.
	Config config.StageConfig
}

// Consumer is one durable pull consumer, of one input and one lane: deliver all, no maximum
// of deliveries. An acknowledgement covers all messages before it too (AckAll): a lane has
// one reader, which finishes messages in stream order.
type Consumer struct {
	Stream, Durable, FilterSubject string
	// Start is when the first message that it delivers was stored, at the earliest; zero = it delivers all that the stream holds.
	Start time.Time `json:",omitzero"`
	// AckWait is a last resort: a worker that takes over a lane resets the consumer instead
	// of waiting for it.
	AckWait time.Duration
	// MaxAckPending bounds the messages in the hands of the worker that owns the lane.
	MaxAckPending int
}
