package graph

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// IndexPipeline indexes Stages by IndexedPipeline.
const IndexPipeline = "spec.pipelineRef.name"

// IndexedPipeline is the name of the Pipeline that a Stage refers to.
func IndexedPipeline(stage client.Object) []string {
	return []string{stage.(*v1alpha1.Stage).Spec.PipelineRef.Name}
}

// Index makes List possible.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &v1alpha1.Stage{}, IndexPipeline, IndexedPipeline)
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
	err := reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{IndexPipeline: pipeline})
	if err != nil {
		return Stages{}, err
	}
	return apart(list.Items), nil
}

// ListAll is List for a reader that has no Index, such as that of a command.
func ListAll(ctx context.Context, reader client.Reader, namespace, pipeline string) (Stages, error) {
	var list v1alpha1.StageList
	if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return Stages{}, err
	}
	return apart(slices.DeleteFunc(list.Items, func(s v1alpha1.Stage) bool { return s.Spec.PipelineRef.Name != pipeline })), nil
}

// apart sorts Stages by name and by who made them.
func apart(all []v1alpha1.Stage) (s Stages) {
	slices.SortFunc(all, func(a, b v1alpha1.Stage) int { return strings.Compare(a.Name, b.Name) })
	for _, stage := range all {
		if IsChild(&stage) {
			s.Children = append(s.Children, stage)
			continue
		}
		s.Attached = append(s.Attached, stage)
	}
	return s
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

// PipelineOf reads the Pipeline of a Stage. It is nil when the Pipeline does not exist, or when the Stage
// is the child of a former one of the same name.
func PipelineOf(ctx context.Context, reader client.Reader, stage *v1alpha1.Stage) (*v1alpha1.Pipeline, error) {
	var pipeline v1alpha1.Pipeline
	err := reader.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: stage.Spec.PipelineRef.Name}, &pipeline)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if IsChild(stage) && !IsChildOf(stage, &pipeline) {
		return nil, nil
	}
	return &pipeline, nil
}

// Spec is the node as the user wrote it: in the Pipeline for a child, so that a change does not have to
// wait for the child, else in the Stage itself.
func Spec(stage *v1alpha1.Stage, pipeline *v1alpha1.Pipeline) v1alpha1.StageNode {
	if IsChild(stage) {
		for _, entry := range pipeline.Spec.Stages {
			if entry.Name == Name(stage) {
				return entry.StageNode
			}
		}
	}
	return stage.Spec.StageNode
}

// Name of a Stage in the graph.
func Name(stage *v1alpha1.Stage) string {
	if stage.Spec.Name != "" {
		return stage.Spec.Name
	}
	return stage.Name
}
