package pipeline

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
)

// applyRevisions writes what was compiled. A Stage that got a revision is not yet what its status says.
func (r *Reconciler) applyRevisions(ctx context.Context, all []decide.Compiled, applied map[string]bool) error {
	var errs []error
	for _, c := range all {
		for _, write := range c.Step.Write {
			object, err := revision.Object(c.Stage, revision.Labels(c.Stage, c.Name), write.Number, write.Content, write.Marks)
			if err == nil {
				err = r.Client.Create(ctx, object)
			}
			if apierrors.IsAlreadyExists(err) {
				// The name follows from the content, so it is that: the cache does not show it yet, or somebody took its labels away.
				err = r.mark(ctx, c.Stage, object.Name, object.Labels, write.Marks)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("write revision %d of Stage %s: %w", write.Number, c.Stage.Name, err))
				break
			}
			applied[c.Stage.Name] = true
			log.FromContext(ctx).Info("transition", "what", "wrote revision", "stage", c.Stage.Name, "revision", object.Name, "number", write.Number)
		}
		if c.Step.Mark != nil {
			errs = append(errs, r.mark(ctx, c.Stage, c.Step.Mark.Name, revision.Labels(c.Stage, c.Name), c.Step.Marks))
		}
	}
	return errors.Join(errs...)
}

// mark notes of which manifests a revision is still what is wanted.
func (r *Reconciler) mark(ctx context.Context, stage *v1alpha1.Stage, name string, labelled map[string]string, marks revision.Marks) error {
	object := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name}}
	patch, err := revision.MarkPatch(marks, labelled)
	if err != nil {
		return err
	}
	if err := r.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotate ControllerRevision %s: %w", object.Name, err)
	}
	return nil
}

// applyAccepted writes into the status of each Stage whether it is part of the plan. The Stage controller writes the rest.
// behind says that the cache has not seen yet what was written into one of them: nothing may wake the controller when it has.
func (r *Reconciler) applyAccepted(ctx context.Context, all []decide.Acceptance) (behind bool, err error) {
	var errs []error
	for _, a := range all {
		if r.Applier.Behind(a.Stage) {
			behind = true
			continue
		}
		errs = append(errs, r.accept(ctx, a))
	}
	return behind, errors.Join(errs...)
}

func (r *Reconciler) accept(ctx context.Context, a decide.Acceptance) error {
	before := a.Stage.DeepCopy()
	if !status.Put(&a.Stage.Status.Conditions, a.Stage.Generation, r.Now(), a.Verdict) {
		return nil
	}
	return r.PatchSharedStatus(ctx, a.Stage, before)
}

// orphans says of the Stages of a Pipeline that does not exist that it does not.
func (r *Reconciler) orphans(ctx context.Context, pipeline client.ObjectKey) (behind bool, err error) {
	stages, err := graph.List(ctx, r.Client, pipeline.Namespace, pipeline.Name)
	if err != nil {
		return false, err
	}
	var all []decide.Acceptance
	for _, list := range [][]v1alpha1.Stage{stages.Children, stages.Attached} {
		for i := range list {
			if list[i].DeletionTimestamp.IsZero() {
				all = append(all, decide.Acceptance{Stage: &list[i], Verdict: status.False(v1alpha1.ConditionAccepted, v1alpha1.ReasonPipelineNotFound, fmt.Sprintf(
					"spec.pipelineRef: Pipeline %s does not exist in namespace %s: create it or delete this Stage", pipeline.Name, pipeline.Namespace))})
			}
		}
	}
	return r.applyAccepted(ctx, all)
}
