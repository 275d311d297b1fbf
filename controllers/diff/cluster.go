package diff

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// inCluster finds the side of the cluster, nil when it has no such Pipeline, and makes that of the file what the API server would make of it.
// refused is what the API server says against it.
func inCluster(ctx context.Context, c client.Client, file *side, nats config.NATS) (have *side, refused error, err error) {
	var live v1alpha1.Pipeline
	err = c.Get(ctx, client.ObjectKeyFromObject(file.pipeline), &live)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("read pipeline %s/%s: %w", file.pipeline.Namespace, file.pipeline.Name, err)
	}
	exists := err == nil
	attached, err := attachedTo(ctx, c, file.pipeline)
	if err != nil {
		return nil, nil, err
	}
	if exists {
		have = &side{pipeline: &live, attached: attached}
		if have.plan, err = planOf(have, nats); err != nil {
			return nil, nil, fmt.Errorf("what the cluster has is refused by the operator already, so it is not known what runs: %w", err)
		}
	}
	applied := file.pipeline.DeepCopy()
	if exists {
		refused = retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the operator writes to it, too
			newest := &v1alpha1.Pipeline{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(file.pipeline), newest); err != nil {
				return err
			}
			applied = newest
			applied.Spec = *file.pipeline.Spec.DeepCopy()
			return c.Update(ctx, applied, client.DryRunAll)
		})
	} else {
		refused = c.Create(ctx, applied, client.DryRunAll)
	}
	if refused != nil && !apierrors.IsInvalid(refused) {
		return nil, nil, fmt.Errorf("ask the API server what it makes of the manifest (a dry run): %w", refused)
	}
	if refused == nil {
		file.pipeline = applied
	}
	// Attached Stages that are in no file stay.
	for _, a := range attached {
		if !slices.ContainsFunc(file.attached, func(s v1alpha1.Stage) bool { return s.Name == a.Name }) {
			file.attached = append(file.attached, a)
		}
	}
	return have, refused, nil
}

// attachedTo are the Stages that users have attached to a Pipeline, and do not delete.
func attachedTo(ctx context.Context, c client.Client, p *v1alpha1.Pipeline) ([]v1alpha1.Stage, error) {
	stages, err := graph.ListAll(ctx, c, p.Namespace, p.Name)
	if err != nil {
		return nil, fmt.Errorf("list Stages: %w", err)
	}
	return slices.DeleteFunc(stages.Attached, func(s v1alpha1.Stage) bool { return !s.DeletionTimestamp.IsZero() }), nil
}

// planOf plans a side.
func planOf(s *side, nats config.NATS) (*plan.Plan, error) {
	url := nats.URL
	if url == "" {
		url = "nats://the-default-of-the-operator:4222"
	}
	p, refusals := plan.Compute(plan.Input{Pipeline: s.pipeline, Stages: s.attached, DefaultNATSURL: url, DefaultDomain: nats.JetStreamDomain})
	if len(refusals) > 0 {
		return nil, refusals.ToAggregate()
	}
	return p, nil
}
