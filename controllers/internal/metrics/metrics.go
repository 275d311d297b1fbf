package metrics

import "github.com/prometheus/client_golang/prometheus"

// metric is one gauge.
type metric struct{ desc *prometheus.Desc }

func define(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("millrace_"+name, help, labels, nil)}
}

// The metrics. The label pipeline is namespace/name, as on the metrics of workers.
//
//nolint:gochecknoglobals // descriptions, never changed
var (
	operatorLeader = define("operator_leader", "1 when this operator leads: it alone reconciles and shows the metrics of Pipelines and Stages.")

	pipelineReady     = define("pipeline_ready", "1 when the Pipeline is ready, and says so of its present spec.", "pipeline")
	pipelineStalled   = define("pipeline_stalled", "1 when the Pipeline waits for a person.", "pipeline")
	pipelineSuspended = define("pipeline_suspended", "1 when the Pipeline is suspended.", "pipeline")
	pipelineConnected = define("pipeline_nats_connected", "1 when the operator reaches the Pipeline's NATS server, 0 when not.", "pipeline")
	pipelineCondition = define("pipeline_condition", "1 for each condition of the Pipeline, with its status (True, False, Unknown) and reason.", "pipeline", "condition", "status", "reason")
	streamMessages    = define("stream_messages", "Messages (frames) stored in a stream of the Pipeline.", "pipeline", "stream")
	streamBytes       = define("stream_bytes", "Bytes stored in a stream of the Pipeline.", "pipeline", "stream")

	stageReady        = define("stage_ready", "1 when the Stage is ready, and says so of its present spec.", "pipeline", "stage")
	stageSuspended    = define("stage_suspended", "1 when the Stage is suspended, alone or with its Pipeline.", "pipeline", "stage")
	stageCondition    = define("stage_condition", "1 for each condition of the Stage, with its status (True, False, Unknown) and reason.", "pipeline", "stage", "condition", "status", "reason")
	stageLagEvents    = define("stage_lag_events", "Events stored and not yet acknowledged by the stage; left out while NATS cannot be asked.", "pipeline", "stage")
	stageLagSeconds   = define("stage_lag_seconds", "Age of the oldest event that the stage has not acknowledged; left out while NATS cannot be asked.", "pipeline", "stage")
	stageWorkers      = define("stage_workers", "Workers (pods) of the stage that exist.", "pipeline", "stage")
	stageWorkersReady = define("stage_workers_ready", "Workers of the stage that are ready.", "pipeline", "stage")
	stagePending      = define("stage_pending_frames", "Frames stored in the streams that the stage reads and not yet delivered to a worker.", "pipeline", "stage")
	stageAckPending   = define("stage_ack_pending_frames", "Frames delivered to a worker and not yet acknowledged.", "pipeline", "stage")
	stageRedelivered  = define("stage_redelivered_frames", "Frames delivered more than once and not yet acknowledged.", "pipeline", "stage")
)

// all are the metrics that there are.
func all() []metric {
	return []metric{
		operatorLeader, pipelineReady, pipelineStalled, pipelineSuspended, pipelineConnected, pipelineCondition, streamMessages, streamBytes,
		stageReady, stageSuspended, stageCondition, stageLagEvents, stageLagSeconds, stageWorkers, stageWorkersReady,
		stagePending, stageAckPending, stageRedelivered,
	}
}
