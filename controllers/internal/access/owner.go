package access

import (
	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// StageOwner is what marks the consumers of a Stage; cluster is the operator's --cluster-name.
func StageOwner(stage *v1alpha1.Stage, cluster string) jetstream.Owner {
	return jetstream.Owner{
		UID: string(stage.UID), Pipeline: stage.Namespace + "/" + stage.Spec.PipelineRef.Name,
		Stage: graph.Name(stage), Cluster: cluster,
	}
}
