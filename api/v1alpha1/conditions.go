package v1alpha1

// The condition types. The text behind each constant, and the lines below it, are the tables of docs/operator.md
// (hack/conditions): the kinds that have the condition, its polarity, and what it says.
const (
	// ConditionReady (Pipeline, Stage; normal-true) sums up the others: it is True when none of them keeps the object from its
	// work. Else it has the reason and message of the first one that needs a person, or of the first one that is not True.
	ConditionReady = "Ready"
	// ConditionAccepted (Pipeline, Stage; normal-true): the spec is valid. The message names every refused field.
	ConditionAccepted = "Accepted"
	// ConditionStreamsReady (Pipeline; normal-true): the streams exist and have the desired configuration.
	ConditionStreamsReady = "StreamsReady"
	// ConditionStagesReady (Pipeline; normal-true): the Stage objects of all entries exist and are Ready.
	ConditionStagesReady = "StagesReady"
	// ConditionPowerSafe (Pipeline; normal-true): the NATS server syncs every message to disk. Only present with
	// `durability: PowerSafe`.
	ConditionPowerSafe = "PowerSafe"
	// ConditionConsumersReady (Stage; normal-true): the durable consumers exist and have the desired configuration.
	ConditionConsumersReady = "ConsumersReady"
	// ConditionWorkersAvailable (Stage; normal-true): the Deployment has its workers, and they are ready.
	ConditionWorkersAvailable = "WorkersAvailable"
	// ConditionAutoscalingReady (Stage; normal-true): the number of workers follows the lag. Only present with `workers.max`;
	// Ready does not depend on it.
	ConditionAutoscalingReady = "AutoscalingReady"
	// ConditionBreakersClosed (Stage; normal-true): the circuit breakers of all workers are closed. Only present with `breaker`;
	// Ready does not depend on it.
	ConditionBreakersClosed = "BreakersClosed"
	// ConditionInputsDrained (Stage; normal-true): former inputs have no events left. Only present, and False, while a Stage that
	// is being deleted, or whose `from` changed, has events left: its workers drain them, or nobody can.
	ConditionInputsDrained = "InputsDrained"
	// ConditionReconciling (Pipeline, Stage; abnormal-true): the operator works, or waits for something that may come by itself.
	// Only present while that is so (kstatus).
	ConditionReconciling = "Reconciling"
	// ConditionStalled (Pipeline, Stage; abnormal-true): the operator cannot go on until a person acts. Only present while that is
	// so (kstatus).
	ConditionStalled = "Stalled"
)

// The reasons of conditions and of Kubernetes Events. The indented lines below a sentence say where the reason occurs:
//
//	KIND CONDITION=STATUS: what it means there. Do: what to do.
//	KIND Event TYPE: what happened.
//
// A line that begins with more space goes on with the one before. The controller of the kind sets the condition; Ready repeats
// the reasons of others.
const (
	// ReasonReady says that a condition is as desired.
	//
	//	Pipeline Ready=True, StreamsReady=True, StagesReady=True: everything is as desired.
	//	Stage Ready=True, ConsumersReady=True, WorkersAvailable=True: everything is as desired.
	//	Stage BreakersClosed=True: the circuit breakers of all workers are closed; the message says how many events still wait in
	//	  the overflow.
	ReasonReady = "Ready"
	// ReasonAccepted says that the spec is valid. The message may name what works less well than it could.
	//
	//	Pipeline Accepted=True: the spec is valid; the message names attached Stages that do not fit.
	//	Stage Accepted=True: the spec is valid; the message says how many workers stand by, and with whom the stage is chained.
	ReasonAccepted = "Accepted"
	// ReasonInvalid says that the planner refused the spec. What runs stays as it is.
	//
	//	Pipeline Accepted=False: the message names every refused field; what runs stays as it is.
	//	  Do: correct the fields; `millrace lint -f FILE` says the same without a cluster.
	//	Pipeline StreamsReady=Unknown, StagesReady=Unknown: the spec is refused, so nothing is changed.
	//	  Do: see `Accepted`.
	//	Stage Accepted=False: the Stage does not fit into its Pipeline, or would get another number of [lanes](stage.md#lanes) than it
	//	  has, or the Pipeline is refused.
	//	  Do: correct the named fields; if the Pipeline is refused, correct it first.
	ReasonInvalid = "Invalid"
	// ReasonProgressing says that the desired state is known and not reached yet. It is never a fault of its own.
	//
	//	Pipeline StagesReady=False: Stages are created, rolled out, drained or deleted; the message names them.
	//	  Do: wait.
	//	Stage Accepted=False: the Pipeline does not name the stage any more, so its Stage object is about to be deleted.
	//	  Do: wait.
	//	Stage ConsumersReady=Unknown: the stage is in no valid plan; its consumers stay as they are.
	//	  Do: see `Accepted`.
	//	Stage WorkersAvailable=False: a rollout or a drain is under way, or consumers are not ready yet.
	//	  Do: wait; the pods' events and logs say more: `kubectl logs -l millrace.dev/stage=NAME`.
	//	Stage WorkersAvailable=Unknown: the stage is in no valid plan; its workers stay as they are.
	//	  Do: see `Accepted`.
	ReasonProgressing = "Progressing"
	// ReasonSuspended says that no workers run, because the spec asks for it. Streams go on storing events.
	//
	//	Pipeline Ready=True: `spec.suspend` is true: no workers run, and nothing is wrong.
	//	  Do: set `spec.suspend: false` to resume.
	//	Stage Ready=True: `suspend` of the Stage or of its Pipeline is true: no workers run, and nothing is wrong.
	//	  Do: set `suspend: false` to resume.
	//	Stage WorkersAvailable=True, AutoscalingReady=True: no workers run, because the stage is suspended.
	ReasonSuspended = "Suspended"
	// ReasonPipelineNotFound says that spec.pipelineRef names no Pipeline of the namespace.
	//
	//	Stage Accepted=False: the Pipeline that `pipelineRef` names does not exist.
	//	  Do: create it, or delete the Stage.
	ReasonPipelineNotFound = "PipelineNotFound"
	// ReasonPipelineInvalid says that a Stage was never part of an accepted plan, and its Pipeline is refused.
	//
	//	Stage Accepted=False: the Pipeline is refused, and the stage never ran.
	//	  Do: see the condition `Accepted` of the Pipeline.
	ReasonPipelineInvalid = "PipelineInvalid"
	// ReasonNATSUnreachable says that NATS did not answer. The operator retries after 5 s, then less and less often, at least once
	// a minute, and at once when the connection is back. Workers that run do not depend on it.
	//
	//	Pipeline StreamsReady=False: NATS does not answer. The operator retries after 5 s, then less often, at least once a minute.
	//	  Do: check `spec.nats.url`, the network and the server. JetStream must be on, or `spec.nats.jetStreamDomain` must name
	//	  where it is.
	//	Stage ConsumersReady=False: as for the Pipeline.
	//	  Do: as for the Pipeline.
	//	Pipeline Event Warning: the deletion of streams waits for NATS.
	//	Stage Event Warning: the deletion of consumers waits for NATS.
	ReasonNATSUnreachable = "NATSUnreachable"
	// ReasonNATSForbidden says that the operator's NATS user lacks a right. The operator retries as with ReasonNATSUnreachable.
	//
	//	Pipeline StreamsReady=False: the user of the operator lacks a right; the message has the subject on which it may not publish.
	//	  Do: give it the rights that `millrace nats-permissions` prints for the Pipeline.
	//	Stage ConsumersReady=False: as for the Pipeline.
	//	  Do: as for the Pipeline.
	ReasonNATSForbidden = "NATSForbidden"
	// ReasonCredentialsNotFound says that the operator cannot read what it needs to log in to NATS.
	//
	//	Pipeline StreamsReady=False: a Secret or ConfigMap of `spec.nats`, or its key, is missing or holds something else.
	//	  Do: the message says what belongs where.
	//	Stage ConsumersReady=False: as for the Pipeline, or for `workers.natsSecretName`.
	//	  Do: the message says what belongs where.
	ReasonCredentialsNotFound = "CredentialsNotFound"
	// ReasonCredentialsNotForServer says that a Secret does not name the NATS server of the Pipeline in its annotation millrace.dev/nats-url.
	// The operator sends it nowhere and mounts it into no worker. Workers that run stay as they are.
	//
	//	Pipeline StreamsReady=False: a Secret of `spec.nats` is not for the server in `spec.nats.url`, or for the operator's.
	//	  Do: if it is, run the `kubectl annotate` of the message; see [security](security.md#secrets-and-their-servers).
	//	Stage ConsumersReady=False: as for the Pipeline, or for `workers.natsSecretName`.
	//	  Do: as for the Pipeline.
	//	Stage WorkersAvailable=Unknown: workers must not have the Secret; those that run stay as they are.
	//	  Do: as for the Pipeline.
	ReasonCredentialsNotForServer = "CredentialsNotForServer"
	// ReasonSecretNotForPipeline says that a Secret whose values the workers of the stage would mount does not name the Pipeline in its annotation
	// millrace.dev/pipelines. Workers that run stay as they are.
	//
	//	Stage ConsumersReady=False: the Secret of a sink or of `transform` is not for the Pipeline.
	//	  Do: if it is, run the `kubectl annotate` of the message; see [security](security.md#secrets-that-stages-mount).
	//	Stage WorkersAvailable=Unknown: workers must not have the Secret; those that run stay as they are.
	//	  Do: as for `ConsumersReady`.
	ReasonSecretNotForPipeline = "SecretNotForPipeline"
	// ReasonNotOwned says that the desired name is taken by something that somebody else owns. The operator leaves that alone.
	//
	//	Pipeline StreamsReady=False: a stream of this name belongs to somebody else.
	//	  Do: name another stream (another `subjectPrefix` names another bucket), or hand the stream over: set its metadata
	//	  `millrace.dev/pipeline` to namespace/name.
	//	Pipeline StagesReady=False: a Stage object of the child's name belongs to another Pipeline, or a user attached it.
	//	  Do: rename one of them.
	//	Stage ConsumersReady=False: a consumer of this name, or the stream, belongs to somebody else.
	//	  Do: delete or rename what is in the way.
	//	Stage AutoscalingReady=False: somebody else made a HorizontalPodAutoscaler or ScaledObject of the stage's name.
	//	  Do: delete it, or remove `workers.max`.
	ReasonNotOwned = "NotOwned"
	// ReasonImmutable says that something in NATS differs in a field that JetStream cannot change. The operator never deletes it to
	// make it fit.
	//
	//	Pipeline StreamsReady=False: a stream differs in a field that JetStream cannot change, or a retained ingress has other partitions.
	//	  Do: set the field back in the Pipeline, or delete the stream with its messages: the operator creates it again.
	//	Stage ConsumersReady=False: a consumer differs in a field that JetStream cannot change.
	//	  Do: delete the consumer: the operator creates it again, and it starts at the first stored event.
	ReasonImmutable = "ImmutableField"
	// ReasonStreamFailed says that NATS refused to create, update or show a stream. The operator retries.
	//
	//	Pipeline StreamsReady=False: NATS refused a stream. The message is its answer; for a limit of the account or the server, it has
	//	  the limit and `spec.streams.maxBytes`.
	//	  Do: lower `spec.streams.maxBytes` or raise the limit. Other causes are more replicas than servers, and subjects that another
	//	  stream has.
	ReasonStreamFailed = "StreamFailed"
	// ReasonConsumerFailed says that NATS refused to create, update or show a consumer. The operator retries.
	//
	//	Stage ConsumersReady=False: NATS refused a consumer. The message is its answer, with the limit of consumers if that is the cause.
	//	  Do: raise the limit that the message names.
	ReasonConsumerFailed = "ConsumerFailed"
	// ReasonStreamMissing says that a stream that the stage reads does not exist yet.
	//
	//	Stage ConsumersReady=False: the Pipeline has not made the stream yet.
	//	  Do: wait, or see `StreamsReady` of the Pipeline.
	ReasonStreamMissing = "StreamMissing"
	// ReasonRepaired says that the operator undid a change that somebody else made. Events in a stream that was deleted are gone.
	//
	//	Pipeline Event Warning: a stream or Stage was gone or changed, and is as desired again.
	//	Stage Event Warning: a consumer was gone or changed, and is as desired again. One that was gone starts at the first stored event.
	ReasonRepaired = "Repaired"
	// ReasonCreated says that the operator created something for the first time.
	//
	//	Pipeline Event Normal: streams or Stages were created.
	//	Stage Event Normal: a consumer, Deployment, ConfigMap or autoscaler was created.
	ReasonCreated = "Created"
	// ReasonReadsFromStart says how many stored events the consumers of a new input have before them.
	//
	//	Stage Event Normal: a new input has stored events, and the stage reads all of them.
	ReasonReadsFromStart = "ReadsFromStart"
	// ReasonUpdated says that the operator changed something because the spec changed.
	//
	//	Pipeline Event Normal: streams or Stages were updated.
	//	Stage Event Normal: a consumer, Deployment, ConfigMap or autoscaler was updated.
	ReasonUpdated = "Updated"
	// ReasonDeleted says that the operator deleted something that nobody needs any more.
	//
	//	Pipeline Event Normal: streams were deleted (`deletionPolicy: Delete`), or the Stage of an entry that is gone.
	//	Stage Event Normal: consumers were deleted with their Stage or their input.
	ReasonDeleted = "Deleted"
	// ReasonRetained says that something stays in NATS though no object needs it any more.
	//
	//	Pipeline Event Normal: streams are kept (`deletionPolicy: Retain`), or are no longer part of the pipeline.
	//	Pipeline Event Warning: NATS did not answer, so streams were left behind.
	//	Stage Event Warning: NATS did not answer, so consumers were left behind.
	ReasonRetained = "Retained"
	// ReasonWorkersUnavailable says that the Deployment cannot have its workers.
	//
	//	Stage WorkersAvailable=False: pods cannot be created, or are not ready after 3 minutes; the message is the Deployment's, or
	//	  says what is wrong with the revision.
	//	  Do: see the pods' events and logs. Often it is a quota, a missing service account, or an image that cannot be pulled.
	ReasonWorkersUnavailable = "WorkersUnavailable"
	// ReasonObjectRefused says that the API server refuses an object that the operator writes, and that a retry does not help: it is not
	// valid, a right is missing, or a policy is against it.
	//
	//	Pipeline StagesReady=False: a Stage, or the revision of one, is refused; the message is the API server's.
	//	Stage WorkersAvailable=False: the ConfigMap, the Deployment or the autoscaler is refused; the message is the API server's.
	//	  Do: what the message asks for: change the Stage, a quota or a policy, or give the operator the right.
	ReasonObjectRefused = "ObjectRefused"
	// ReasonStagesNotReady says that at least one Stage of the pipeline is not Ready.
	//
	//	Pipeline StagesReady=False: the message names each Stage and its reason.
	//	  Do: see the Stage: `kubectl describe mrs NAME-STAGE`.
	ReasonStagesNotReady = "StagesNotReady"
	// ReasonDeadLettered says that a stage could not process an event. There is at most one Event an hour for a stage and reason.
	//
	//	Pipeline Event Warning: a stage could not process an event; `millrace dlq show` has it.
	ReasonDeadLettered = "DeadLettered"
	// ReasonSynced says that the NATS server confirms a message after it is on disk.
	//
	//	Pipeline PowerSafe=True: the NATS server has `sync_interval: always`.
	ReasonSynced = "Synced"
	// ReasonNotSynced says that the NATS server confirms messages that are not on disk yet.
	//
	//	Pipeline PowerSafe=False: a NATS server confirms messages that are not on disk. Events flow on.
	//	  Do: set `sync_interval: always` in the `jetstream` block of that server and restart it.
	ReasonNotSynced = "NotSynced"
	// ReasonNotVerified says that nobody could tell the operator how the NATS server syncs.
	//
	//	Pipeline PowerSafe=Unknown: the operator could not ask the NATS server. Ready does not depend on it.
	//	  Do: set `--nats-monitor-url`, or look at `/varz` of the server yourself.
	ReasonNotVerified = "NotVerified"
	// ReasonScaled says that the operator itself set the number of workers, and why.
	//
	//	Stage Event Normal: the operator set another number of workers; the note says why.
	ReasonScaled = "Scaled"
	// ReasonAutoscaling says who sets the number of workers, and between which bounds.
	//
	//	Stage AutoscalingReady=True: the number of workers follows the lag.
	ReasonAutoscaling = "Autoscaling"
	// ReasonReplicasHeld says that spec.replicas holds the number of workers.
	//
	//	Stage AutoscalingReady=True: `spec.replicas` holds the number of workers.
	//	  Do: nothing, or remove `spec.replicas`.
	ReasonReplicasHeld = "ReplicasHeld"
	// ReasonBreakerOpen says that a circuit breaker is not closed: a service that the stage calls fails, or is slow.
	//
	//	Stage BreakersClosed=False: workers do not call what the message names; it says since when, and how many events wait in the
	//	  overflow.
	//	  Do: mend the service; the breaker closes by itself, see [circuit breaker](stage.md#circuit-breaker).
	ReasonBreakerOpen = "BreakerOpen"
	// ReasonEventsLeft says that a former input has events that the stage has not processed.
	//
	//	Stage InputsDrained=False: workers process the events that were stored before a change of the graph.
	//	  Do: wait, or leave the events: see [Changes](#changes).
	//	Stage Event Warning: a drain ended early; the note says how many events were left.
	ReasonEventsLeft = "EventsLeft"
	// ReasonRevisionLost says that no worker can read a former input, because its ControllerRevision is gone.
	//
	//	Stage InputsDrained=False: a former input has events, and the ControllerRevision that reads it is gone. Positions are kept.
	//	  Do: name the input in `from` again until its events are processed, or leave them: see [Changes](#changes).
	ReasonRevisionLost = "RevisionLost"
	// ReasonOneWorkerEnough says that more workers would stand by.
	//
	//	Stage AutoscalingReady=True: the stage has no more lanes than `workers.min`, so there is nothing to scale.
	//	  Do: nothing. More [partitions](pipeline.md#fields) need another pipeline.
	ReasonOneWorkerEnough = "OneWorkerEnough"
	// ReasonAutoscalingOff says that the operator was told to leave the number of workers alone.
	//
	//	Stage AutoscalingReady=False: the operator runs with `--autoscaling-backend=none`.
	//	  Do: choose another backend, or remove `workers.max`.
	ReasonAutoscalingOff = "AutoscalingOff"
	// ReasonForeignMetricsAPI says that somebody else serves the external metrics of the cluster.
	//
	//	Stage AutoscalingReady=False: the APIService belongs to the Service that the message names. The operator scales directly.
	//	  Do: nothing, or set the backend to `direct` to say that it is meant so.
	ReasonForeignMetricsAPI = "ForeignMetricsAPI"
	// ReasonNoMetricsAPI says that the cluster has no APIService of external metrics.
	//
	//	Stage AutoscalingReady=False: there is no APIService. The operator scales directly.
	//	  Do: `helm upgrade` with `autoscaling.external.apiService.enabled` creates it.
	ReasonNoMetricsAPI = "NoMetricsAPI"
	// ReasonNoKEDA says that the cluster does not have the kinds of KEDA.
	//
	//	Stage AutoscalingReady=False: the cluster does not have KEDA. The operator scales directly.
	//	  Do: install KEDA, or choose another backend.
	ReasonNoKEDA = "NoKEDA"
	// ReasonPaused says that an annotation on the ScaledObject holds the number of workers.
	//
	//	Stage AutoscalingReady=True: an annotation on the ScaledObject has KEDA leave the number alone.
	//	  Do: nothing, or remove the annotation.
	ReasonPaused = "Paused"
	// ReasonMetricsUnavailable says that whoever sets the number of workers does not know the lag. The number stays.
	//
	//	Stage AutoscalingReady=False: the API server does not reach the operator, the autoscaler or KEDA got no value, or the lag is not
	//	  known.
	//	  Do: the message says which. Some clouds need a firewall rule for the port (6443) in private clusters.
	ReasonMetricsUnavailable = "MetricsUnavailable"
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
	// AnnotationNATSURL on a Secret names the NATS servers that it may be shown to, as URLs separated by commas.
	AnnotationNATSURL = "millrace.dev/nats-url"
	// AnnotationPipelines on a Secret names the Pipelines of its namespace whose workers may mount it, separated by commas; * = all of them.
	AnnotationPipelines = "millrace.dev/pipelines"
	// AnnotationDrain is false on a Stage that is not to process what was stored for it before it is deleted or
	// reads something else.
	AnnotationDrain = "millrace.dev/drain"
)
