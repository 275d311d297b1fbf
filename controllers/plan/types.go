package plan

import (
	"time"

	"millrace.dev/millrace/workers/config"
)

// Plan is what one pipeline needs.
type Plan struct {
	Namespace, Name string
	SubjectPrefix   string
	Partitions      int
	// Ingress is where collectors publish: <Ingress.Subject>.>
	Ingress Stream
	// Streams are all streams of the pipeline, ingress first, in a stable order.
	Streams []Stream
	// Stages are in topological order: a stage stands behind all stages it reads.
	Stages []Stage
}

// Stream is one JetStream stream: Limits retention, DiscardNew.
type Stream struct {
	Name     string
	Subjects []string
	// Ports are what fills the stream: ingress, validate/out, dead-letter, insights.
	Ports []string
	// Memory selects memory storage instead of files.
	Memory          bool
	Replicas        int
	MaxAge          time.Duration
	MaxBytes        int64 // -1 = unlimited
	DuplicateWindow time.Duration
}

// Stage is one node of the graph.
type Stage struct {
	Name string
	// Stateful stages have one worker.
	Stateful  bool
	Replicas  int32
	Suspended bool
	Consumers []Consumer
	Config    config.StageConfig
}

// Consumer is one durable pull consumer: explicit ack, deliver all, no maximum of deliveries.
type Consumer struct {
	Stream, Durable, FilterSubject string
	AckWait                        time.Duration
	MaxAckPending                  int
}
