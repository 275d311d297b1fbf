package labels

import "millrace.dev/millrace/api/v1alpha1"

// The recommended labels of Kubernetes
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
const (
	Name      = "app.kubernetes.io/name"
	Component = "app.kubernetes.io/component"
	PartOf    = "app.kubernetes.io/part-of"
	ManagedBy = "app.kubernetes.io/managed-by"

	// Operator is the value of ManagedBy: the operator's caches hold only what has it.
	Operator = "millrace"
	// Worker is the value of Name on worker objects.
	Worker = "millrace-worker"
)

// Of are the labels of everything that belongs to a stage of a pipeline.
func Of(pipeline, stage string) map[string]string {
	return map[string]string{
		ManagedBy: Operator, PartOf: pipeline,
		v1alpha1.LabelPipeline: pipeline, v1alpha1.LabelStage: stage,
	}
}

// Workers are the labels of the ConfigMaps, Deployment and pods of a stage.
func Workers(pipeline, stage, kind string) map[string]string {
	l := Of(pipeline, stage)
	l[Name], l[Component] = Worker, kind
	return l
}

// Selector selects the pods of a stage. It is immutable in a Deployment: never change it.
func Selector(pipeline, stage string) map[string]string {
	return map[string]string{v1alpha1.LabelPipeline: pipeline, v1alpha1.LabelStage: stage}
}
