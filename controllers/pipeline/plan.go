package pipeline

import (
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// intent is what a reconcile has decided to do.
type intent struct {
	// streams are in the order of the plan, then the leases; empty while NATS cannot be asked.
	streams []jetstream.StreamChange
	// children to apply, in the order of the spec.
	children []child
	// prune are children whose entry is gone from the spec.
	prune []v1alpha1.Stage
	// revisions to write; failed says why some cannot be made.
	revisions []compiled
	failed    []error
	// accepted is what is said of each Stage.
	accepted []acceptance
	// retained are streams that were in the plan before and are no more: their data stay.
	retained []string
}

// child is one Stage to apply.
type child struct {
	entry v1alpha1.PipelineStage
	// live is nil when the Stage does not exist.
	live *v1alpha1.Stage
}

// decide is pure: what does the snapshot call for? A refused Pipeline calls for nothing:
// what runs goes on as it is, by the last revisions.
func decide(s *snapshot, cluster string, settings revision.Settings) intent {
	if s.resolved.Plan == nil {
		return intent{accepted: decideAccepted(s, nil)}
	}
	in := intent{children: decideChildren(s), prune: decidePrune(s), retained: decideRetained(s)}
	in.revisions, in.failed = decideRevisions(s, settings)
	in.accepted = decideAccepted(s, in.revisions)
	if s.natsErr != nil {
		return in
	}
	owner := ownerOf(s.pipeline, cluster)
	for _, want := range s.resolved.Plan.Streams {
		in.streams = append(in.streams, jetstream.CompareStream(want, owner, s.streams[want.Name]))
	}
	leases := s.resolved.Plan.Leases
	in.streams = append(in.streams, jetstream.CompareLeases(leases, owner, s.streams[leases.Stream()]))
	if states := s.resolved.Plan.States; states.Bucket != "" {
		in.streams = append(in.streams, jetstream.CompareStates(states, owner, s.streams[states.Stream()]))
	}
	return in
}

func decideChildren(s *snapshot) []child {
	var children []child
	for _, entry := range s.pipeline.Spec.Stages {
		name := plan.ChildName(s.pipeline.Name, entry.Name)
		if s.taken[name] != nil {
			continue
		}
		c := child{entry: entry}
		i := slices.IndexFunc(s.stages.Children, func(st v1alpha1.Stage) bool { return st.Name == name })
		if i >= 0 {
			c.live = &s.stages.Children[i]
		}
		if c.live != nil && !c.live.DeletionTimestamp.IsZero() {
			continue // the entry was taken out and is back, perhaps as another kind: it gets a Stage of its own when this one has drained
		}
		children = append(children, c)
	}
	return children
}

func decidePrune(s *snapshot) []v1alpha1.Stage {
	var gone []v1alpha1.Stage
	for _, stage := range s.stages.Children {
		if !graph.IsChildOf(&stage, s.pipeline) || !stage.DeletionTimestamp.IsZero() {
			continue
		}
		wanted := slices.ContainsFunc(s.pipeline.Spec.Stages, func(e v1alpha1.PipelineStage) bool {
			return plan.ChildName(s.pipeline.Name, e.Name) == stage.Name
		})
		if !wanted {
			gone = append(gone, stage)
		}
	}
	return gone
}

func decideRetained(s *snapshot) []string {
	planned := map[string]bool{}
	for _, name := range streamsOf(s.resolved.Plan) {
		planned[name] = true
	}
	var retained []string
	for _, stream := range s.pipeline.Status.Streams {
		if !planned[stream.Name] {
			retained = append(retained, stream.Name)
		}
	}
	return retained
}

// streamsOf names the streams of a plan; the last ones are its buckets.
func streamsOf(p *plan.Plan) []string {
	var names []string
	for _, s := range p.Streams {
		names = append(names, s.Name)
	}
	return append(names, p.Buckets()...)
}
