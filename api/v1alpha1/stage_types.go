package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Stage is one node of a Pipeline's graph: made by the Pipeline, or attached with pipelineRef.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=mrs,categories=millrace
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:selectablefield:JSONPath=`.spec.pipelineRef.name`
// +kubebuilder:printcolumn:name="Pipeline",type=string,JSONPath=`.spec.pipelineRef.name`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.status.kind`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Workers",type=integer,JSONPath=`.status.readyWorkers`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.autoscaling.desired`,priority=1
// +kubebuilder:printcolumn:name="Lag",type=integer,JSONPath=`.status.lag`
// +kubebuilder:printcolumn:name="Duplicates",type=integer,JSONPath=`.status.duplicates.events`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 63 lower-case letters, digits and -, without dots: it becomes part of subjects, streams and labels"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.name) ? self.spec.name : self.metadata.name) != 'ingress'",message="ingress is the name of the pipeline's input: choose another",fieldPath=".spec"
// +kubebuilder:validation:XValidation:rule="!self.spec.from.exists(f, f.split('/')[0] == (has(self.spec.name) ? self.spec.name : self.metadata.name))",message="a stage cannot read itself",fieldPath=".spec.from"
// +kubebuilder:validation:XValidation:rule="self.spec.?placement.?with.orValue('-') != (has(self.spec.name) ? self.spec.name : self.metadata.name)",message="with must name another stage",fieldPath=".spec.placement"
type Stage struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec StageSpec `json:"spec,omitzero"`
	// status is what the operator saw.
	// +optional
	Status StageStatus `json:"status,omitzero"`
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
//
// +kubebuilder:validation:XValidation:rule="self.?name.orValue('-') == (has(oldSelf.name) ? oldSelf.name : '-')",message="name is immutable: a stage of another name is another stage",fieldPath=".name"
// +kubebuilder:validation:XValidation:rule="has(self.startTime) == has(oldSelf.startTime) && (!has(self.startTime) || self.startTime == oldSelf.startTime)",message="startTime is immutable: make a Stage of another name",fieldPath=".startTime"
// +kubebuilder:validation:XValidation:rule="has(self.endTime) == has(oldSelf.endTime) && (!has(self.endTime) || self.endTime == oldSelf.endTime)",message="endTime is immutable: make a Stage of another name",fieldPath=".endTime"
// +kubebuilder:validation:XValidation:rule="!has(self.endTime) || has(self.startTime) && self.startTime < self.endTime",message="must be later than startTime, which must be set",fieldPath=".endTime"
// +kubebuilder:validation:XValidation:rule="!has(self.startTime) || !has(self.placement)",message="a stage with placement reads no stream: leave startTime or placement out",fieldPath=".startTime"
type StageSpec struct {
	// pipelineRef is the Pipeline in the same namespace that the stage belongs to. Immutable.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="pipelineRef is immutable: make another Stage"
	// +required
	PipelineRef PipelineRef `json:"pipelineRef,omitzero"`
	// name of the stage in the graph. Immutable. Default: metadata.name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +optional
	Name string `json:"name,omitempty"`
	// replicas overrides workers.min and workers.max, 0 to 1000; `kubectl scale` sets it.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// startTime has the stage begin with what its inputs stored then or later, instead of with all that they hold, and leave what it has not
	// processed when it is deleted. Of attached Stages alone. Immutable.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// endTime has the stage pass by what its inputs stored then or later. Needs startTime. Immutable.
	// +optional
	EndTime *metav1.Time `json:"endTime,omitempty"`

	StageNode `json:",inline"`
}

// PipelineRef names a Pipeline in the same namespace.
type PipelineRef struct {
	// name of the Pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`
}

// StageNode is a node of the graph: what it reads, what it does, where it publishes.
// Exactly one of validate, enrich, correlate, analyze, route, transform, experiment, compare, gather, sink and join is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.validate), has(self.enrich), has(self.correlate), has(self.analyze), has(self.route), has(self.transform), has(self.experiment), has(self.compare), has(self.gather), has(self.sink), has(self.join)].filter(x, x).size() == 1",message="set exactly one of validate, enrich, correlate, analyze, route, transform, experiment, compare, gather, sink, join: it is the kind of the stage"
// +kubebuilder:validation:XValidation:rule="has(self.validate) == has(oldSelf.validate) && has(self.enrich) == has(oldSelf.enrich) && has(self.correlate) == has(oldSelf.correlate) && has(self.analyze) == has(oldSelf.analyze) && has(self.route) == has(oldSelf.route) && has(self.transform) == has(oldSelf.transform) && has(self.experiment) == has(oldSelf.experiment) && has(self.compare) == has(oldSelf.compare) && has(self.gather) == has(oldSelf.gather) && has(self.sink) == has(oldSelf.sink) && has(self.join) == has(oldSelf.join)",message="the kind of a stage is immutable: make a stage of another name"
// +kubebuilder:validation:XValidation:rule="self.?output.?stream.orValue('-') == (has(oldSelf.output) && has(oldSelf.output.stream) ? oldSelf.output.stream : '-') && self.?output.?subject.orValue('-') == (has(oldSelf.output) && has(oldSelf.output.subject) ? oldSelf.output.subject : '-')",message="output is immutable: others read there",fieldPath=".output"
// +kubebuilder:validation:XValidation:rule="self.?placement.?with.orValue('-') == (has(oldSelf.placement) ? oldSelf.placement.with : '-')",message="placement is immutable: events between the two stages would be left behind",fieldPath=".placement"
// +kubebuilder:validation:XValidation:rule="(self.?breaker.?whenOpen.orValue('-') == 'Overflow') == (has(oldSelf.breaker) && has(oldSelf.breaker.whenOpen) && oldSelf.breaker.whenOpen == 'Overflow')",message="Overflow cannot be set or unset later: the subjects of the output follow from that. Make a stage of another name",fieldPath=".breaker"
// +kubebuilder:validation:XValidation:rule="!has(self.placement) || !has(self.workers) && !self.?suspend.orValue(false)",message="with placement, workers and suspend are those of the other stage",fieldPath=".placement"
type StageNode struct {
	// from are the ports to read, 1 to 16: ingress, <stage> (its port out) or <stage>/<port>.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=127
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z]([-a-z0-9]*[a-z0-9])?)?$`
	// +kubebuilder:validation:items:XValidation:rule="!self.startsWith('ingress/')",message="ingress has no ports"
	// +required
	From []string `json:"from,omitempty"`
	// output names the stream of port out. Immutable.
	// +optional
	Output PortSpec `json:"output,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// placement runs the stage in the workers of another one. Immutable.
	// +optional
	Placement *PlacementSpec `json:"placement,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// workers shapes the worker Deployment.
	// +optional
	Workers WorkersSpec `json:"workers,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// retry says how often and how fast a failing event is tried again.
	// +optional
	Retry *RetrySpec `json:"retry,omitempty"`
	// breaker is for stages that call others: gather, and sink with http.
	// +optional
	Breaker *BreakerSpec `json:"breaker,omitzero"` //nolint:kubeapilinter // {} is a breaker with the defaults
	// suspend stops the workers. Default: false.
	// +optional
	Suspend bool `json:"suspend,omitempty"` //nolint:kubeapilinter // unset and false are the same

	// validate checks events against rules and drops duplicates.
	// +optional
	Validate *ValidateSpec `json:"validate,omitempty"`
	// enrich adds Kubernetes, semantic, trace and impact context.
	// +optional
	Enrich *EnrichSpec `json:"enrich,omitempty"`
	// correlate finds what belongs together and why.
	// +optional
	Correlate *CorrelateSpec `json:"correlate,omitempty"`
	// analyze scores numeric series, and events by trained models.
	// +optional
	Analyze *AnalyzeSpec `json:"analyze,omitempty"`
	// route sends each event to the ports whose rules take it.
	// +optional
	Route *RouteSpec `json:"route,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// transform changes events, step by step.
	// +optional
	Transform *TransformSpec `json:"transform,omitempty"`
	// experiment gives each event to one of several variants.
	// +optional
	Experiment *ExperimentSpec `json:"experiment,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// compare says which variant of an experiment does better.
	// +optional
	Compare *CompareSpec `json:"compare,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// gather asks responders about events, and merges their answers.
	// +optional
	Gather *GatherSpec `json:"gather,omitempty"`
	// sink keeps events outside of the pipeline.
	// +optional
	Sink *SinkSpec `json:"sink,omitempty"`
	// join brings the branches of a fork together again.
	// +optional
	Join *JoinSpec `json:"join,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
}

// PlacementSpec chains a stage to another one: it takes events from it in memory.
type PlacementSpec struct {
	// with names the stage in whose workers this one runs.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	With string `json:"with,omitempty"`
}

// WorkersSpec shapes the worker Deployment of a stage.
//
// +kubebuilder:validation:XValidation:rule="!has(self.max) || self.max >= self.min",message="max must not be less than min (default 1)"
// +kubebuilder:validation:XValidation:rule="has(self.max) || !has(self.targetLag) && !has(self.targetDrain) && self.min > 0",message="min 0, targetLag and targetDrain need max"
// +kubebuilder:validation:XValidation:rule="!has(self.targetLag) || !has(self.targetDrain)",message="set targetLag or targetDrain, not both"
type WorkersSpec struct {
	// min is the number of workers; those beyond the lanes stand by. Default: 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +default=1
	// +optional
	Min *int32 `json:"min,omitempty"`
	// max lets the number follow the lag, from min up to this.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Max int32 `json:"max,omitempty"`
	// targetLag is the lag for each worker, in events. Default: 5000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	TargetLag int32 `json:"targetLag,omitempty"`
	// targetDrain is how fast the lag is to be worked off, 5s to 1h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('5s') && duration(self) <= duration('1h')",message="must be a duration from 5s to 1h"
	// +optional
	TargetDrain *metav1.Duration `json:"targetDrain,omitempty"`
	// drainTimeout after SIGTERM, 1s to 10m. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('10m')",message="must be a duration from 1s to 10m"
	// +optional
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`
	// resources of the worker container.
	// +optional
	Resources ResourcesSpec `json:"resources,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// nodeSelector of the worker pods.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// serviceAccountName of workers that read the cluster. Default: the operator's choice.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// natsSecretName is the Secret of the stage's own NATS user. Default: that of the pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	NATSSecretName string `json:"natsSecretName,omitempty"`
	// image of the worker container. Default: the operator's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`
}

// ResourcesSpec are the resources of a container.
type ResourcesSpec struct {
	// limits are the most that it may use.
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
	// requests are what it is promised. Default: the limits.
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
}

// RetrySpec says how often and how fast a failing event is tried again.
//
// +kubebuilder:validation:XValidation:rule="duration(self.initialBackoff) <= duration(self.maxBackoff)",message="initialBackoff (default 100ms) must not be longer than maxBackoff (default 5s)"
type RetrySpec struct {
	// maxAttempts before an event is dead-lettered. Default: 5.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxAttempts int32 `json:"maxAttempts,omitempty"`
	// initialBackoff before the second attempt, 1ms to 1m; it doubles. Default: 100ms.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="must be a duration from 1ms to 1m"
	// +default="100ms"
	// +optional
	InitialBackoff *metav1.Duration `json:"initialBackoff,omitempty"`
	// maxBackoff bounds the wait, 1ms to 10m. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('10m')",message="must be a duration from 1ms to 10m"
	// +default="5s"
	// +optional
	MaxBackoff *metav1.Duration `json:"maxBackoff,omitempty"`
}

// ValidateSpec checks events against rules and drops duplicates.
type ValidateSpec struct {
	// rules are CEL over the variable event; all have to be true.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Rules []ValidateRule `json:"rules,omitempty"`
	// requiredAttributes must be set. Default: id, source, type.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Enum=id;source;type;subject;time;severity;body;entity;partitionkey;traceparent
	// +optional
	RequiredAttributes []string `json:"requiredAttributes,omitempty"`
	// clockSkew bounds the event time by the worker's clock.
	// +optional
	ClockSkew *ClockSkewSpec `json:"clockSkew,omitempty"`
	// dedupe drops events seen within the window.
	// +optional
	Dedupe *DedupeSpec `json:"dedupe,omitempty"`
}

// ValidateRule is one CEL rule.
type ValidateRule struct {
	// expression is CEL over the variable event, and yields a bool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Expression string `json:"expression,omitempty"`
	// message says what is wrong when the expression is false. Default: the expression.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`
}

// ClockSkewSpec bounds the event time relative to the clock of the worker.
//
// +kubebuilder:validation:XValidation:rule="has(self.maxFuture) || has(self.maxAge)",message="set at least one of maxFuture, maxAge"
type ClockSkewSpec struct {
	// maxFuture is how far ahead an event may be, 1s to 24h. Default: unbounded.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be a duration from 1s to 24h"
	// +optional
	MaxFuture *metav1.Duration `json:"maxFuture,omitempty"`
	// maxAge is how old an event may be, 1s to 8760h. Default: unbounded.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be a duration from 1s to 8760h"
	// +optional
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// DedupeSpec drops events whose source and id were seen within the window.
type DedupeSpec struct {
	// window is how long an id is remembered, 1s to 1h. Default: 2m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Window *metav1.Duration `json:"window,omitempty"`
	// maxEntries bounds the memory, about 44 bytes an id. Default: 2000000.
	// +kubebuilder:validation:Minimum=1000
	// +kubebuilder:validation:Maximum=20000000
	// +optional
	MaxEntries int32 `json:"maxEntries,omitempty"`
}

// EnrichSpec adds context; a member that is not set is off.
//
// +kubebuilder:validation:XValidation:rule="has(self.kubernetes) || has(self.semantic) || has(self.trace) || has(self.impact)",message="set at least one of kubernetes, semantic, trace, impact: a member that is not set is off"
type EnrichSpec struct {
	// kubernetes adds pod, owner chain, workload, node and labels.
	// +optional
	Kubernetes *EnrichKubernetesSpec `json:"kubernetes,omitempty"`
	// semantic adds class, category and severity from a rule table.
	// +optional
	Semantic *EnrichSemanticSpec `json:"semantic,omitempty"`
	// trace normalises the W3C trace context and adds span links.
	// +optional
	Trace *EnrichTraceSpec `json:"trace,omitempty"`
	// impact adds blast radius and a score from the entity graph.
	// +optional
	Impact *EnrichImpactSpec `json:"impact,omitempty"`
	// cache bounds the cache of look-ups.
	// +optional
	Cache *EnrichCacheSpec `json:"cache,omitempty"`
}

// EnrichKubernetesSpec adds pod, owner chain, workload, node and labels.
type EnrichKubernetesSpec struct {
	// labels are the pod label keys to copy. Default: the app.kubernetes.io/* ones.
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	// +optional
	Labels []string `json:"labels,omitempty"`
	// keepDeleted is how long deleted objects answer look-ups, 1s to 1h. Default: 2m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	KeepDeleted *metav1.Duration `json:"keepDeleted,omitempty"`
}

// EnrichSemanticSpec adds class, category and severity from a rule table.
type EnrichSemanticSpec struct {
	// rules come before the built-in table; the first match wins.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Rules []SemanticRule `json:"rules,omitempty"`
}

// SemanticRule is one row of the rule table; what is not set matches everything.
//
// +kubebuilder:validation:XValidation:rule="has(self.type) || has(self.reason) || has(self.contains)",message="set at least one of type, reason, contains: a rule that matches everything hides all others"
type SemanticRule struct {
	// id names the rule in what it adds.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	ID string `json:"id,omitempty"`
	// type is an event type; a trailing .* matches every type below it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[^*]+(\.\*)?$`
	// +optional
	Type string `json:"type,omitempty"`
	// reason is a Kubernetes event reason.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Reason string `json:"reason,omitempty"`
	// contains is text that the body must contain.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Contains string `json:"contains,omitempty"`
	// class says what happened: oom-kill, crash-loop, ...
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Class string `json:"class,omitempty"`
	// category is the area that is concerned.
	// +kubebuilder:validation:Enum=availability;performance;capacity;change;security;network;information
	// +required
	Category string `json:"category,omitempty"`
	// severity is an OpenTelemetry severity number, 1 to 24. Default: the event's own.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=24
	// +optional
	Severity int32 `json:"severity,omitempty"`
}

// EnrichTraceSpec normalises the W3C trace context and adds span links.
type EnrichTraceSpec struct{}

// EnrichImpactSpec adds blast radius and a score from the entity graph.
type EnrichImpactSpec struct{}

// EnrichCacheSpec bounds the cache of look-ups.
type EnrichCacheSpec struct {
	// maxEntries of the cache, 100 to 10000000. Default: 100000.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxEntries int32 `json:"maxEntries,omitempty"`
	// ttl of an entry, 1s to 1h. Default: 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`
}

// CorrelateSpec finds what belongs together; a member that is not set is off.
//
// +kubebuilder:validation:XValidation:rule="has(self.realtime) || has(self.window) || has(self.runs) || has(self.patterns)",message="set at least one of realtime, window, runs, patterns: a member that is not set is off"
type CorrelateSpec struct {
	// realtime applies causal and topological rules.
	// +optional
	Realtime *RealtimeSpec `json:"realtime,omitempty"`
	// window groups notable events into tumbling event-time windows.
	// +optional
	Window *WindowSpec `json:"window,omitempty"`
	// runs finds root causes in how requests are handled: from spans, logs and metrics.
	// +optional
	Runs *RunsSpec `json:"runs,omitempty"`
	// patterns learns which kind of event follows which other.
	// +optional
	Patterns *PatternsSpec `json:"patterns,omitempty"`
	// passThrough has every event leave on port out, also one that belongs to no incident. Default: false.
	// +optional
	PassThrough bool `json:"passThrough,omitempty"` //nolint:kubeapilinter // unset and false are the same
}

// RealtimeSpec applies causal and topological rules over a bounded window.
type RealtimeSpec struct {
	// within is how far back a cause may lie, in event time, 1s to 1h. Default: 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Within *metav1.Duration `json:"within,omitempty"`
	// maxEntities bounds the entities that are remembered. Default: 100000.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxEntities int32 `json:"maxEntities,omitempty"`
	// incidentIdle closes an incident without events, 1s to 24h. Default: 15m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be a duration from 1s to 24h"
	// +optional
	IncidentIdle *metav1.Duration `json:"incidentIdle,omitempty"`
}

// RunsSpec finds root causes in how requests are handled: it compares what runs say, whom they call and how long they take with the last hour.
type RunsSpec struct {
	// maxSpans bounds the spans that are waited for, 1000 to 10000000; the oldest is forgotten first. Default: 100000.
	// +kubebuilder:validation:Minimum=1000
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxSpans int32 `json:"maxSpans,omitempty"`
	// maxRoutes bounds the routes of all services, 100 to 1000000; the least recently used is forgotten first. Default: 20000.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxRoutes int32 `json:"maxRoutes,omitempty"`
}

// PatternsSpec learns from the stream which kind of event follows which other, for the same pod, workload, service, node or namespace.
type PatternsSpec struct {
	// within is how long after one event another one counts as following, in event time, 1s to 1h. Default: 2m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Within *metav1.Duration `json:"within,omitempty"`
	// maxKeys bounds the pods, workloads, services, nodes and namespaces that are remembered, 100 to 1000000; the least recently used is forgotten first. Default: 20000.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxKeys int32 `json:"maxKeys,omitempty"`
}

// WindowSpec groups notable events into tumbling event-time windows.
//
// +kubebuilder:validation:XValidation:rule="self.minEvents <= self.maxEvents",message="minEvents (default 3) must not be greater than maxEvents (default 1000)"
type WindowSpec struct {
	// size of a window, 1s to 1h. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Size *metav1.Duration `json:"size,omitempty"`
	// lateness is how long a window waits, 1ms to 1h. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="must be a duration from 1ms to 1h"
	// +optional
	Lateness *metav1.Duration `json:"lateness,omitempty"`
	// minEvents make a group worth reporting, 1 to 100000. Default: 3.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +default=3
	// +optional
	MinEvents int32 `json:"minEvents,omitempty"`
	// maxEvents closes a group early, 1 to 100000. Default: 1000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +default=1000
	// +optional
	MaxEvents int32 `json:"maxEvents,omitempty"`
}

// AnalyzeSpec scores numeric series, and events by trained models; a member that is not set is off.
//
// +kubebuilder:validation:XValidation:rule="has(self.anomaly) || has(self.trend) || has(self.inference)",message="set at least one of anomaly, trend, inference: a member that is not set is off"
type AnalyzeSpec struct {
	// anomaly scores each value of a series against what came before.
	// +optional
	Anomaly *AnomalySpec `json:"anomaly,omitempty"`
	// trend tests each series for a monotonic trend.
	// +optional
	Trend *TrendSpec `json:"trend,omitempty"`
	// inference scores events by a trained model.
	// +optional
	Inference *InferenceSpec `json:"inference,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// maxSeries bounds the series that are remembered. Default: 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxSeries int32 `json:"maxSeries,omitempty"`
	// passThrough has every event leave on port out, with what was found of it as attributes. Default: false.
	// +optional
	PassThrough bool `json:"passThrough,omitempty"` //nolint:kubeapilinter // unset and false are the same
}

// AnomalySpec scores each value of a series against what came before.
type AnomalySpec struct {
	// threshold is the score from which a value is an anomaly, a decimal from 0 to 16; "0" makes a result of each score. Default: "5".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+([.][0-9]+)?$') && double(self) <= 16.0",message="must be a decimal from 0 to 16"
	// +optional
	Threshold string `json:"threshold,omitempty"`
	// seriesBy are the attributes, or resource attributes, that tell the series of an entity and metric apart, also for trend. Default: those with few values.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	SeriesBy []string `json:"seriesBy,omitempty"`
}

// TrendSpec tests each series for a monotonic trend.
type TrendSpec struct {
	// window is the length of the series, 10s to 24h. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="must be a duration from 10s to 24h"
	// +optional
	Window *metav1.Duration `json:"window,omitempty"`
	// minPoints that a test needs, 4 to 64. Default: 12.
	// +kubebuilder:validation:Minimum=4
	// +kubebuilder:validation:Maximum=64
	// +optional
	MinPoints int32 `json:"minPoints,omitempty"`
}

// StageStatus is what the operator saw.
type StageStatus struct {
	// conditions are Accepted, ConsumersReady, WorkersAvailable, InputsDrained, AutoscalingReady, BreakersClosed, their sum Ready, Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// kind of the stage.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Kind string `json:"kind,omitempty"`
	// replicas is the number of workers that exist.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// readyWorkers is the number of workers that are ready.
	// +optional
	ReadyWorkers int32 `json:"readyWorkers,omitempty"`
	// selector of the worker pods, for the scale subresource.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Selector string `json:"selector,omitempty"`
	// lag is the number of events stored and not yet processed by this stage.
	// +optional
	Lag *int64 `json:"lag,omitempty"`
	// lagSeconds is the age of the oldest such event.
	// +optional
	LagSeconds *int64 `json:"lagSeconds,omitempty"`
	// duplicates are the events that validate.dedupe dropped; absent for stages without it.
	// +optional
	Duplicates *DuplicatesStatus `json:"duplicates,omitempty"`
	// revision is the ControllerRevision that the workers are made from.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Revision string `json:"revision,omitempty"`
	// observedRevision is the newest ControllerRevision that this status speaks of. The workers are of an earlier one while they process what is
	// stored in an input that the newest does not read.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ObservedRevision string `json:"observedRevision,omitempty"`
	// autoscaling says how many workers there should be, and why; absent without workers.max.
	// +optional
	Autoscaling *AutoscalingStatus `json:"autoscaling,omitempty"`
	// consumers are the durable consumers of the stage.
	// +listType=map
	// +listMapKey=stream
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Consumers []ConsumerStatus `json:"consumers,omitempty"`
}

// DuplicatesStatus counts the events that a stage dropped because it had seen them before.
type DuplicatesStatus struct {
	// events dropped since then, by all workers. It lacks what a worker that was killed dropped in its last 2 seconds.
	// +optional
	Events int64 `json:"events"`
	// since is when the count began: with the first worker, or when the bucket of the leases was made again.
	// +optional
	Since metav1.Time `json:"since,omitzero"`
}

// AutoscalingStatus says how many workers there should be, and why.
type AutoscalingStatus struct {
	// backend that sets the number: external, prometheus, keda or direct.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +required
	Backend string `json:"backend,omitempty"`
	// desired is the number of workers that the load calls for, within the bounds.
	// +required
	Desired *int32 `json:"desired,omitempty"`
	// reason says in words why it is this number.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Reason string `json:"reason,omitempty"`
	// arrival is how many events a second come in.
	// +optional
	Arrival int64 `json:"arrival,omitempty"`
	// rate is how many events a second one worker gets through; learned while there is a backlog.
	// +optional
	Rate int64 `json:"rate,omitempty"`
}

// ConsumerStatus is what the operator saw of the durable consumers of one input.
type ConsumerStatus struct {
	// stream that it reads.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Stream string `json:"stream,omitempty"`
	// name of the durable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Name string `json:"name,omitempty"`
	// lanes is the number of consumers, summed up here; several are <name>-0, <name>-1 and so on.
	// +optional
	Lanes int32 `json:"lanes,omitempty"`
	// pending frames: stored and not yet delivered.
	// +optional
	Pending int64 `json:"pending,omitempty"`
	// ackPending frames: delivered and not yet acknowledged.
	// +optional
	AckPending int64 `json:"ackPending,omitempty"`
	// redelivered frames: delivered more than once and not yet acknowledged.
	// +optional
	Redelivered int64 `json:"redelivered,omitempty"`
	// backlog is what was stored before the consumers were made, and so is read by them; absent when nothing was.
	// +optional
	Backlog *BacklogStatus `json:"backlog,omitempty"`
}

// BacklogStatus is what consumers found in their stream when they were made.
type BacklogStatus struct {
	// created is when the consumers were made.
	// +optional
	Created metav1.Time `json:"created,omitzero"`
	// events stored before; a number close to it where messages hold several.
	// +optional
	Events int64 `json:"events,omitempty"`
	// oldest is when the oldest of them was stored.
	// +optional
	Oldest metav1.Time `json:"oldest,omitzero"`
}
