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

// sight is what was seen of a stage.
type sight struct {
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

// look reads everything that a reading is made from.
func (m *Meter) look(ctx context.Context, stage *v1alpha1.Stage) (sight, error) {
	history, err := revision.List(ctx, m.Client, stage)
	if err != nil {
		return sight{}, err
	}
	newest := history.Newest()
	if newest == nil || newest.Head != "" {
		return sight{}, errNoPlan
	}
	var s sight
	s.policy, s.scales = scaling.PolicyOf(newest.Workers, newest.Lanes)
	s.policy.Lanes = newest.Lanes
	s.scales = s.scales && !newest.Suspended && stage.Spec.Replicas == nil
	if err := m.deployment(ctx, stage, &s); err != nil {
		return sight{}, err
	}
	nats, err := m.Access.Connect(ctx, stage.Namespace, newest.NATS)
	if err != nil {
		return sight{}, err
	}
	in, err := intake.Read(ctx, intake.Query{NATS: nats, Owner: access.StageOwner(stage, m.Cluster), Stage: stage, History: history})
	if err != nil {
		return sight{}, err
	}
	sum := summary{sample: &s.sample}
	if err := sum.planned(in); err != nil {
		return sight{}, err
	}
	sum.former(stage, in)
	sum.close()
	return s, nil
}

// summary sums up the consumers of a stage.
type summary struct {
	sample *scaling.Sample
	// messages that the lag is that of.
	messages float64
}

// planned adds the inputs of the newest revision. A consumer that does not exist is an error: a lag without it would be a guess.
func (s *summary) planned(in *intake.Intake) error {
	for _, input := range in.Inputs {
		for _, lane := range input.Lanes {
			if lane.Have == nil {
				return fmt.Errorf("consumer %s of stream %s does not exist yet", lane.Want.Durable, lane.Want.Stream)
			}
			s.add(lane)
		}
	}
	return nil
}

// former adds the inputs that the stage is not to have any more and that its workers go on with, or will when there
// are some; not those that no worker can read.
func (s *summary) former(stage *v1alpha1.Stage, in *intake.Intake) {
	if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil && c.Reason == v1alpha1.ReasonRevisionLost {
		return
	}
	for _, f := range in.Former {
		for _, lane := range f.Consumers {
			s.add(lane)
		}
	}
}

func (s *summary) add(lane intake.Lane) {
	s.sample.Acked += lane.Have.Acked
	s.sample.Outstanding += lane.Have.Pending + lane.Have.AckPending
	s.sample.Redelivered += lane.Have.Redelivered
	s.sample.Lag += lane.Lag.Events
	if lane.Lag.PerMessage > 0 {
		s.messages += float64(lane.Have.Pending + lane.Have.AckPending)
	}
}

func (s *summary) close() {
	if s.messages > 0 {
		s.sample.PerMessage = float64(s.sample.Lag) / s.messages
	}
}
