package v1alpha1

// The condition types. All but Stalled are normal-true.
const (
	// ConditionReady sums up the others (kstatus).
	ConditionReady = "Ready"
	// ConditionAccepted: the spec makes sense in full; its message names every refused field.
	ConditionAccepted = "Accepted"
	// ConditionStreamsReady: the streams exist as wanted (Pipeline).
	ConditionStreamsReady = "StreamsReady"
	// ConditionStagesReady: all stages are Ready (Pipeline).
	ConditionStagesReady = "StagesReady"
	// ConditionPowerSafe: the NATS server syncs every message, as durability PowerSafe demands. Only there
	// when that is demanded.
	ConditionPowerSafe = "PowerSafe"
	// ConditionConsumersReady: the durable consumers exist as wanted (Stage).
	ConditionConsumersReady = "ConsumersReady"
	// ConditionWorkersAvailable: the Deployment has its workers (Stage).
	ConditionWorkersAvailable = "WorkersAvailable"
	// ConditionAutoscalingReady: the number of workers follows the lag (Stage). Only there when workers.max is set.
	ConditionAutoscalingReady = "AutoscalingReady"
	// ConditionInputsDrained: what was stored for a stage is processed (Stage). Only there, and false, while it is
	// to be deleted or to read something else, and workers process what is left, or none can.
	ConditionInputsDrained = "InputsDrained"
	// ConditionReconciling: the operator is at work and will try again (kstatus, abnormal-true).
	ConditionReconciling = "Reconciling"
	// ConditionStalled: the operator cannot go on without a person (kstatus, abnormal-true).
	ConditionStalled = "Stalled"
)

// The reasons of conditions and of Kubernetes Events.
const (
	ReasonReady               = "Ready"
	ReasonAccepted            = "Accepted"
	ReasonInvalid             = "Invalid"
	ReasonProgressing         = "Progressing"
	ReasonSuspended           = "Suspended"
	ReasonPipelineNotFound    = "PipelineNotFound"
	ReasonNATSUnreachable     = "NATSUnreachable"
	ReasonNATSForbidden       = "NATSForbidden"
	ReasonCredentialsNotFound = "CredentialsNotFound"
	ReasonNotOwned            = "NotOwned"
	ReasonImmutable           = "ImmutableField"
	ReasonStreamFailed        = "StreamFailed"
	ReasonConsumerFailed      = "ConsumerFailed"
	ReasonStreamMissing       = "StreamMissing"
	ReasonRepaired            = "Repaired"
	ReasonCreated             = "Created"
	ReasonReadsFromStart      = "ReadsFromStart"
	ReasonUpdated             = "Updated"
	ReasonDeleted             = "Deleted"
	ReasonRetained            = "Retained"
	ReasonWorkersUnavailable  = "WorkersUnavailable"
	ReasonStagesNotReady      = "StagesNotReady"
	ReasonDeadLettered        = "DeadLettered"
	ReasonSynced              = "Synced"
	ReasonNotSynced           = "NotSynced"
	ReasonNotVerified         = "NotVerified"
	ReasonScaled              = "Scaled"
	ReasonAutoscaling         = "Autoscaling"
	ReasonReplicasHeld        = "ReplicasHeld"
	ReasonEventsLeft          = "EventsLeft"
	ReasonRevisionLost        = "RevisionLost"
	ReasonRevisionEdited      = "RevisionEdited"
	ReasonOneWorkerEnough     = "OneWorkerEnough"
	ReasonAutoscalingOff      = "AutoscalingOff"
	ReasonForeignMetricsAPI   = "ForeignMetricsAPI"
	ReasonNoMetricsAPI        = "NoMetricsAPI"
	ReasonNoKEDA              = "NoKEDA"
	ReasonPaused              = "Paused"
	ReasonMetricsUnavailable  = "MetricsUnavailable"
)

// Labels and annotations.
const (
	// LabelPipeline and LabelStage select what belongs to a pipeline and a stage.
	LabelPipeline = "millrace.dev/pipeline"
	LabelStage    = "millrace.dev/stage"
	// Finalizer holds a Pipeline or Stage until its JetStream assets are handled.
	Finalizer = "millrace.dev/jetstream"

	// AnnotationRestart on a Stage, or on a Pipeline for all its stages, has the workers replaced when its
	// value changes.
	AnnotationRestart = "millrace.dev/restart"
	// AnnotationDrain is false on a Stage that is not to process what was stored for it before it is deleted or
	// reads something else.
	AnnotationDrain = "millrace.dev/drain"
)
