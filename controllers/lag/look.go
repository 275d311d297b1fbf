package lag

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
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
	return s, addConsumers(ctx, nats, node, &s.sample)
}

// addConsumers sums up the consumers of a stage. One that does not exist is an error: a lag without it
// would be a guess.
func addConsumers(ctx context.Context, nats *jetstream.Client, node *plan.Stage, sum *scaling.Sample) error {
	var messages float64
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
			have := found[name]
			if have == nil {
				return fmt.Errorf("consumer %s of stream %s does not exist yet", name, lanes[0].Stream)
			}
			lag, err := nats.Lag(ctx, lanes[0].Stream, have)
			if err != nil {
				return err
			}
			sum.Acked += have.Acked
			sum.Outstanding += have.Pending + have.AckPending
			sum.Redelivered += have.Redelivered
			sum.Lag += lag.Events
			if lag.PerMessage > 0 {
				messages += float64(have.Pending + have.AckPending)
			}
		}
	}
	if messages > 0 {
		sum.PerMessage = float64(sum.Lag) / messages
	}
	return nil
}
