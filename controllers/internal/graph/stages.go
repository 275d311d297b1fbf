package graph

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// indexPipeline indexes Stages by the Pipeline that they refer to.
const indexPipeline = "spec.pipelineRef.name"

// Index makes List possible.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &v1alpha1.Stage{}, indexPipeline, func(o client.Object) []string {
		return []string{o.(*v1alpha1.Stage).Spec.PipelineRef.Name}
	})
}

// Stages of one pipeline, by name.
type Stages struct {
	// Children were made by the Pipeline controller.
	Children []v1alpha1.Stage
	// Attached were made by users.
	Attached []v1alpha1.Stage
}

// List reads the Stages that refer to a pipeline.
func List(ctx context.Context, reader client.Reader, namespace, pipeline string) (Stages, error) {
	var list v1alpha1.StageList
	err := reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexPipeline: pipeline})
	if err != nil {
		return Stages{}, err
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.Stage) int { return strings.Compare(a.Name, b.Name) })
	var s Stages
	for _, stage := range list.Items {
		if IsChild(&stage) {
			s.Children = append(s.Children, stage)
			continue
		}
		s.Attached = append(s.Attached, stage)
	}
	return s, nil
}

// IsChild reports whether a Stage was made by the Pipeline controller.
func IsChild(stage *v1alpha1.Stage) bool {
	owner := metav1.GetControllerOf(stage)
	return owner != nil && owner.Kind == "Pipeline" && strings.HasPrefix(owner.APIVersion, v1alpha1.GroupVersion.Group+"/")
}

// IsChildOf reports whether the Pipeline controls the Stage.
func IsChildOf(stage *v1alpha1.Stage, pipeline *v1alpha1.Pipeline) bool {
	return metav1.IsControlledBy(stage, pipeline)
}

// Name of a Stage in the graph.
func Name(stage *v1alpha1.Stage) string {
	if stage.Spec.Name != "" {
		return stage.Spec.Name
	}
	return stage.Name
}
