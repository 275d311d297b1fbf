package lag

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/plan"
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
	pipeline, err := graph.PipelineOf(ctx, m.Client, stage)
	if err != nil {
		return sight{}, err
	}
	if pipeline == nil {
		return sight{}, errNoPlan
	}
	stages, err := graph.List(ctx, m.Client, stage.Namespace, pipeline.Name)
	if err != nil {
		return sight{}, err
	}
	node := m.Planner.Resolve(pipeline, stages.Attached).Node(stage)
	if node == nil || node.Head != "" {
		return sight{}, errNoPlan
	}
	var s sight
	s.policy, s.scales = scaling.PolicyOf(graph.Spec(stage, pipeline).Workers, node.Lanes)
	s.policy.Lanes = node.Lanes
	s.scales = s.scales && !node.Suspended && stage.Spec.Replicas == nil
	if err := m.deployment(ctx, stage, &s); err != nil {
		return sight{}, err
	}
	nats, err := m.Access.Client(ctx, pipeline)
	if err != nil {
		return sight{}, err
	}
	sum := summary{sample: &s.sample}
	if err := sum.planned(ctx, nats, node); err != nil {
		return sight{}, err
	}
	if err := sum.former(ctx, nats, stage, node, access.StageOwner(stage, m.Cluster)); err != nil {
		return sight{}, err
	}
	sum.close()
	return s, nil
}

// summary sums up the consumers of a stage.
type summary struct {
	sample *scaling.Sample
	// messages that the lag is that of.
	messages float64
}

// planned adds the consumers of the plan. One that does not exist is an error: a lag without it would be a guess.
func (s *summary) planned(ctx context.Context, nats *jetstream.Client, node *plan.Stage) error {
	for lanes := range slices.Chunk(node.Consumers, node.Lanes) {
		names := make([]string, len(lanes))
		for i, c := range lanes {
			names[i] = c.Durable
		}
		found, err := nats.Consumers(lanes[0].Stream, names)
		if err != nil {
			return err
		}
		for _, name := range names {
			if found[name] == nil {
				return fmt.Errorf("consumer %s of stream %s does not exist yet", name, lanes[0].Stream)
			}
			if err := s.add(ctx, nats, lanes[0].Stream, found[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// former adds the inputs that the stage is not to have any more and that its workers go on with, or will when there
// are some; not those that no worker can read.
func (s *summary) former(ctx context.Context, nats *jetstream.Client, stage *v1alpha1.Stage, node *plan.Stage, owner jetstream.Owner) error {
	if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil && c.Reason == v1alpha1.ReasonRevisionLost {
		return nil
	}
	for _, entry := range stage.Status.Consumers {
		names := graph.Former(entry, node.Consumers)
		if len(names) == 0 {
			continue
		}
		found, err := nats.Consumers(entry.Stream, names)
		if errors.Is(err, jetstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, have := range found {
			if !owner.Owns(have.Config.Metadata) {
				continue
			}
			if err := s.add(ctx, nats, entry.Stream, have); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *summary) add(ctx context.Context, nats *jetstream.Client, stream string, have *jetstream.Consumer) error {
	lag, err := nats.Lag(ctx, stream, have)
	if err != nil {
		return err
	}
	s.sample.Acked += have.Acked
	s.sample.Outstanding += have.Pending + have.AckPending
	s.sample.Redelivered += have.Redelivered
	s.sample.Lag += lag.Events
	if lag.PerMessage > 0 {
		s.messages += float64(have.Pending + have.AckPending)
	}
	return nil
}

func (s *summary) close() {
	if s.messages > 0 {
		s.sample.PerMessage = float64(s.sample.Lag) / s.messages
	}
}
