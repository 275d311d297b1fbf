package lag

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
)

// observation is what was observed of a stage.
type observation struct {
	sample scaling.Sample
	// policy is what the manifest asks for; scales is false when it fixes the number of workers.
	policy scaling.Policy
	scales bool
	// deployed says whether there is a Deployment, workers how many it should have.
	deployed bool
	workers  int32
}

// errNoPlan: there is nothing to measure yet.
var errNoPlan = errors.New("the stage is in no plan: see its condition Accepted")

// observe reads everything that a reading is made from.
func (m *Meter) observe(ctx context.Context, stage *v1alpha1.Stage) (observation, error) {
	history, err := revision.List(ctx, m.Client, stage)
	if err != nil {
		return observation{}, err
	}
	newest := history.Newest()
	if newest == nil || newest.Head != "" {
		return observation{}, errNoPlan
	}
	var o observation
	o.policy, o.scales = scaling.PolicyOf(newest.Workers, newest.Lanes)
	o.policy.Lanes = newest.Lanes
	o.scales = o.scales && !newest.Suspended && stage.Spec.Replicas == nil
	if err := m.deployment(ctx, stage, &o); err != nil {
		return observation{}, err
	}
	nats, err := m.Access.Connect(ctx, stage.Namespace, newest.NATS)
	if err != nil {
		return observation{}, err
	}
	in, err := intake.Read(ctx, intake.Query{NATS: nats, Owner: access.StageOwner(stage, m.Cluster), Stage: stage, History: history})
	if err != nil {
		return observation{}, err
	}
	sum, err := sumOf(stage, in)
	if err != nil {
		return observation{}, err
	}
	o.sample.Acked, o.sample.Outstanding, o.sample.Redelivered = sum.Acked, sum.Pending+sum.AckPending, sum.Redelivered
	o.sample.Lag, o.sample.PerMessage = sum.Events, sum.PerMessage()
	return o, nil
}

// sumOf sums up the inputs of the newest revision, and those that the stage is not to have any more and that its workers go on with, or will
// when there are some; not those that no worker can read. A consumer that does not exist is an error: a lag without it would be a guess.
func sumOf(stage *v1alpha1.Stage, in *intake.Intake) (sum intake.Sum, err error) {
	for _, input := range in.Inputs {
		for _, lane := range input.Lanes {
			if lane.Have == nil {
				return sum, fmt.Errorf("consumer %s of stream %s does not exist yet", lane.Want.Durable, lane.Want.Stream)
			}
			sum.Add(lane)
		}
	}
	if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil && c.Reason == v1alpha1.ReasonRevisionLost {
		return sum, nil
	}
	for _, f := range in.Former {
		for _, lane := range f.Consumers {
			sum.Add(lane)
		}
	}
	return sum, nil
}
