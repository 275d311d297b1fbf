package decide

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Observed is all that a reconcile reads.
type Observed struct {
	// Now is when it was read.
	Now      time.Time
	Pipeline *v1alpha1.Pipeline
	Stages   graph.Stages
	Resolved graph.Resolved
	// Running is what each Stage runs, by the name of the object.
	Running map[string]Running
	// Taken are Stages that have the name of a child and belong to somebody else.
	Taken map[string]*v1alpha1.Stage
	// NATSErr says why NATS cannot be asked; nil when it can.
	NATSErr error
	// Streams that exist, of those in the plan, and that of the leases.
	Streams map[string]*jetstream.Stream
	// DeadLetters that are new since the last look: the first and the last of them.
	DeadLetters []jetstream.DeadLetter
}

// Running is what a Stage runs.
type Running struct {
	History revision.History
	// Unreadable says why the history is not known.
	Unreadable error
	// Deployment and ConfigMap are what workers run by without a revision; nil when there is one, or none of them.
	Deployment *appsv1.Deployment
	ConfigMap  *corev1.ConfigMap
}

// DeadLetterStream is the one stream that all stages write their dead letters to.
func DeadLetterStream(p *plan.Plan) string {
	for _, stage := range p.Stages {
		if out, ok := stage.Config.Outputs[config.PortDeadLetter]; ok {
			return out.Stream
		}
	}
	return ""
}

// OwnerOf is what marks the streams of a pipeline.
func OwnerOf(pipeline *v1alpha1.Pipeline, cluster string) jetstream.Owner {
	return jetstream.Owner{
		UID: string(pipeline.UID), Pipeline: pipeline.Namespace + "/" + pipeline.Name, Cluster: cluster,
	}
}
