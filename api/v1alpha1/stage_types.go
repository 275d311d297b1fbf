package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Stage is one node of a Pipeline's graph as an object of its own. The Pipeline makes one
// for each of its stages; a user may add one with pipelineRef.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=mrs,categories=millrace
// +kubebuilder:subresource:status
type Stage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   StageSpec   `json:"spec"`
	Status StageStatus `json:"status,omitempty"`
}

// StageList is a list of Stages.
//
// +kubebuilder:object:root=true
type StageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Stage `json:"items"`
}

// StageSpec is what the user wants.
type StageSpec struct {
	// pipelineRef is the Pipeline in the same namespace that the stage belongs to. Immutable.
	PipelineRef PipelineRef `json:"pipelineRef"`
	// name of the stage in the graph. Immutable. Default: metadata.name.
	Name string `json:"name,omitempty"`
	// replicas overrides workers.min; `kubectl scale` and autoscalers set it.
	Replicas *int32 `json:"replicas,omitempty"`

	StageNode `json:",inline"`
}

// PipelineRef names a Pipeline in the same namespace.
type PipelineRef struct {
	// name of the Pipeline.
	Name string `json:"name"`
}

// StageNode is a node of the graph: what it reads, what it does, where it publishes.
// Exactly one of validate, enrich, correlate and analyze is set.
type StageNode struct {
	// from are the ports to read: ingress, <stage> (its port out) or <stage>/<port>.
	From []string `json:"from"`
	// output names the stream of port out.
	Output PortSpec `json:"output,omitempty"`
	// workers shapes the worker Deployment.
	Workers WorkersSpec `json:"workers,omitempty"`
	// retry says how often and how fast a failing event is tried again.
	Retry *RetrySpec `json:"retry,omitempty"`
	// suspend stops the workers of this stage; its input goes on being stored.
	Suspend bool `json:"suspend,omitempty"`

	// validate checks events against rules and drops duplicates.
	Validate *ValidateSpec `json:"validate,omitempty"`
	// enrich adds Kubernetes, semantic, trace and impact context.
	Enrich *EnrichSpec `json:"enrich,omitempty"`
	// correlate finds what belongs together and why.
	Correlate *CorrelateSpec `json:"correlate,omitempty"`
	// analyze scores numeric series.
	Analyze *AnalyzeSpec `json:"analyze,omitempty"`
}

// WorkersSpec shapes the worker Deployment of a stage.
type WorkersSpec struct {
	// min is the number of workers. Stateful stages (correlate, analyze, validate with
	// dedupe) have one. Default: 1.
	Min int32 `json:"min,omitempty"`
	// drainTimeout bounds how long a worker may finish what it holds after SIGTERM. Default: 30s.
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`
	// resources of the worker container.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector of the worker pods.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// serviceAccountName of the worker pods. Only an enrich stage with kubernetes needs one
	// that may read the cluster. Default: the operator's choice.
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// image of the worker container. Default: the operator's.
	Image string `json:"image,omitempty"`
}

// RetrySpec says how often and how fast a failing event is tried again.
type RetrySpec struct {
	// maxAttempts before an event is dead-lettered. Default: 5.
	MaxAttempts int32 `json:"maxAttempts,omitempty"`
	// initialBackoff before the second attempt; each next wait doubles. Default: 100ms.
	InitialBackoff *metav1.Duration `json:"initialBackoff,omitempty"`
	// maxBackoff bounds the wait. Default: 5s.
	MaxBackoff *metav1.Duration `json:"maxBackoff,omitempty"`
}

// ValidateSpec checks events against rules and drops duplicates.
type ValidateSpec struct {
	// rules are CEL expressions over the variable event; an event is valid when all are true.
	Rules []ValidateRule `json:"rules,omitempty"`
	// requiredAttributes must be set. Default: id, source, type.
	RequiredAttributes []string `json:"requiredAttributes,omitempty"`
	// clockSkew bounds the event time relative to the clock of the worker.
	ClockSkew *ClockSkewSpec `json:"clockSkew,omitempty"`
	// dedupe drops events whose source and id were seen within the window.
	Dedupe *DedupeSpec `json:"dedupe,omitempty"`
}

// ValidateRule is one CEL rule.
type ValidateRule struct {
	// expression is CEL over the variable event, and yields a bool.
	Expression string `json:"expression"`
	// message says to a person what is wrong when the expression is false.
	Message string `json:"message,omitempty"`
}

// ClockSkewSpec bounds the event time relative to the clock of the worker.
type ClockSkewSpec struct {
	// maxFuture is how far ahead of the clock an event may be. Default: unbounded.
	MaxFuture *metav1.Duration `json:"maxFuture,omitempty"`
	// maxAge is how old an event may be. Default: unbounded.
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// DedupeSpec drops events whose source and id were seen within the window.
type DedupeSpec struct {
	// window is how long an id is remembered. Default: 2m.
	Window *metav1.Duration `json:"window,omitempty"`
	// maxEntries bounds the memory, about 64 bytes an id. Default: 2000000.
	MaxEntries int32 `json:"maxEntries,omitempty"`
}

// EnrichSpec adds context; a member that is not set is off.
type EnrichSpec struct {
	// kubernetes adds pod, owner chain, workload, node and labels.
	Kubernetes *EnrichKubernetesSpec `json:"kubernetes,omitempty"`
	// semantic adds class, category and severity from a rule table.
	Semantic *EnrichSemanticSpec `json:"semantic,omitempty"`
	// trace normalises the W3C trace context and adds span links.
	Trace *EnrichTraceSpec `json:"trace,omitempty"`
	// impact adds blast radius and a score from the entity graph.
	Impact *EnrichImpactSpec `json:"impact,omitempty"`
	// cache bounds the cache of look-ups.
	Cache *EnrichCacheSpec `json:"cache,omitempty"`
}

// EnrichKubernetesSpec adds pod, owner chain, workload, node and labels.
type EnrichKubernetesSpec struct {
	// labels are the pod label keys to copy. Default: the app.kubernetes.io/* ones.
	Labels []string `json:"labels,omitempty"`
	// keepDeleted is how long a deleted object still answers look-ups. Default: 2m.
	KeepDeleted *metav1.Duration `json:"keepDeleted,omitempty"`
}

// EnrichSemanticSpec adds class, category and severity from a rule table.
type EnrichSemanticSpec struct {
	// rules come before the built-in table; the first match wins.
	Rules []SemanticRule `json:"rules,omitempty"`
}

// SemanticRule is one row of the rule table. Members that are not set match everything.
type SemanticRule struct {
	// id names the rule in what it adds.
	ID string `json:"id"`
	// type is an event type; a trailing .* matches every type below it.
	Type string `json:"type,omitempty"`
	// reason is a Kubernetes event reason.
	Reason string `json:"reason,omitempty"`
	// contains is text that the body must contain.
	Contains string `json:"contains,omitempty"`
	// class says what happened: oom-kill, crash-loop, ...
	Class string `json:"class"`
	// category is the area that is concerned.
	Category string `json:"category"`
	// severity is an OpenTelemetry severity number. Default: the event's own.
	Severity int32 `json:"severity,omitempty"`
}

// EnrichTraceSpec normalises the W3C trace context and adds span links.
type EnrichTraceSpec struct{}

// EnrichImpactSpec adds blast radius and a score from the entity graph.
type EnrichImpactSpec struct{}

// EnrichCacheSpec bounds the cache of look-ups.
type EnrichCacheSpec struct {
	// maxEntries of the cache. Default: 100000.
	MaxEntries int32 `json:"maxEntries,omitempty"`
	// ttl of an entry. Default: 10s.
	TTL *metav1.Duration `json:"ttl,omitempty"`
}

// CorrelateSpec finds what belongs together; a member that is not set is off.
type CorrelateSpec struct {
	// realtime applies causal and topological rules over a bounded window.
	Realtime *RealtimeSpec `json:"realtime,omitempty"`
	// window groups notable events into tumbling event-time windows.
	Window *WindowSpec `json:"window,omitempty"`
}

// RealtimeSpec applies causal and topological rules over a bounded window.
type RealtimeSpec struct {
	// within is how far back a cause may lie, in event time. Default: 5m.
	Within *metav1.Duration `json:"within,omitempty"`
	// maxEntities bounds the entities that are remembered. Default: 100000.
	MaxEntities int32 `json:"maxEntities,omitempty"`
	// incidentIdle closes an incident that saw no event for this long. Default: 15m.
	IncidentIdle *metav1.Duration `json:"incidentIdle,omitempty"`
}

// WindowSpec groups notable events into tumbling event-time windows.
type WindowSpec struct {
	// size of a window. Default: 5s.
	Size *metav1.Duration `json:"size,omitempty"`
	// lateness is how long a window waits for late events. Default: 5s.
	Lateness *metav1.Duration `json:"lateness,omitempty"`
	// minEvents make a group worth reporting. Default: 3.
	MinEvents int32 `json:"minEvents,omitempty"`
	// maxEvents closes a group early. Default: 1000.
	MaxEvents int32 `json:"maxEvents,omitempty"`
}

// AnalyzeSpec scores numeric series; a member that is not set is off.
type AnalyzeSpec struct {
	// anomaly scores each value of a series against what came before.
	Anomaly *AnomalySpec `json:"anomaly,omitempty"`
	// trend tests each series for a monotonic trend.
	Trend *TrendSpec `json:"trend,omitempty"`
	// maxSeries bounds the series that are remembered. Default: 100000.
	MaxSeries int32 `json:"maxSeries,omitempty"`
}

// AnomalySpec scores each value of a series against what came before.
type AnomalySpec struct {
	// threshold is the score, -log10 of the tail probability, from which a value is an
	// anomaly, as a decimal. Default: "6".
	Threshold string `json:"threshold,omitempty"`
	// warmup is the number of values before any is scored. Default: 30.
	Warmup int32 `json:"warmup,omitempty"`
}

// TrendSpec tests each series for a monotonic trend.
type TrendSpec struct {
	// window is the length of the series that is tested. Default: 10m.
	Window *metav1.Duration `json:"window,omitempty"`
	// minPoints is the number of points a test needs. Default: 12.
	MinPoints int32 `json:"minPoints,omitempty"`
}

// StageStatus is what the operator saw.
type StageStatus struct {
	// conditions: Ready sums up Accepted, ConsumersReady and WorkersAvailable; Stalled is abnormal-true.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// kind of the stage.
	Kind string `json:"kind,omitempty"`
	// replicas is the number of workers that exist.
	Replicas int32 `json:"replicas,omitempty"`
	// readyWorkers is the number of workers that are ready.
	ReadyWorkers int32 `json:"readyWorkers,omitempty"`
	// selector of the worker pods, for the scale subresource.
	Selector string `json:"selector,omitempty"`
	// lag is the number of events stored and not yet processed by this stage.
	Lag *int64 `json:"lag,omitempty"`
	// lagSeconds is the age of the oldest such event.
	LagSeconds *int64 `json:"lagSeconds,omitempty"`
	// consumers are the durable consumers of the stage.
	Consumers []ConsumerStatus `json:"consumers,omitempty"`
}

// ConsumerStatus is what the operator saw of one durable consumer.
type ConsumerStatus struct {
	// stream that it reads.
	Stream string `json:"stream"`
	// name of the durable.
	Name string `json:"name"`
	// pending frames: stored and not yet delivered.
	Pending int64 `json:"pending,omitempty"`
	// ackPending frames: delivered and not yet acknowledged.
	AckPending int64 `json:"ackPending,omitempty"`
	// redelivered frames: delivered more than once and not yet acknowledged.
	Redelivered int64 `json:"redelivered,omitempty"`
}
