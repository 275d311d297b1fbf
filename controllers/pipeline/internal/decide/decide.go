package decide

import (
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// Desired is what a reconcile has decided to do.
type Desired struct {
	// Streams are in the order of the plan, then the leases; empty while NATS cannot be asked.
	Streams []jetstream.StreamChange
	// Children to apply, in the order of the spec.
	Children []ChildStage
	// Prune are children whose entry is gone from the spec.
	Prune []v1alpha1.Stage
	// Revisions to write; Failed says why some cannot be made.
	Revisions []Compiled
	Failed    []error
	// Accepted is what is said of each Stage.
	Accepted []Acceptance
	// Retained are streams that were in the plan before and are no more: their data stay.
	Retained []string
}

// ChildStage is one Stage to apply.
type ChildStage struct {
	Entry v1alpha1.PipelineStage
	// Live is nil when the Stage does not exist.
	Live *v1alpha1.Stage
}

// Decide is pure: what does the snapshot call for? A refused Pipeline calls for nothing:
// what runs goes on as it is, by the last revisions.
func Decide(s *Observed, cluster string, settings revision.Settings) Desired {
	if s.Resolved.Plan == nil {
		return Desired{Accepted: decideAccepted(s, nil)}
	}
	in := Desired{Children: decideChildren(s), Prune: decidePrune(s), Retained: decideRetained(s)}
	in.Revisions, in.Failed = decideRevisions(s, settings)
	in.Accepted = decideAccepted(s, in.Revisions)
	if s.NATSErr != nil {
		return in
	}
	owner := OwnerOf(s.Pipeline, cluster)
	for _, want := range s.Resolved.Plan.Streams {
		in.Streams = append(in.Streams, jetstream.CompareStream(want, owner, s.Streams[want.Name]))
	}
	leases := s.Resolved.Plan.Leases
	in.Streams = append(in.Streams, jetstream.CompareLeases(leases, owner, s.Streams[leases.Stream()]))
	if states := s.Resolved.Plan.States; states.Bucket != "" {
		in.Streams = append(in.Streams, jetstream.CompareStates(states, owner, s.Streams[states.Stream()]))
	}
	return in
}

func decideChildren(s *Observed) []ChildStage {
	var children []ChildStage
	for _, entry := range s.Pipeline.Spec.Stages {
		name := plan.ChildName(s.Pipeline.Name, entry.Name)
		if s.Taken[name] != nil {
			continue
		}
		c := ChildStage{Entry: entry}
		i := slices.IndexFunc(s.Stages.Children, func(st v1alpha1.Stage) bool { return st.Name == name })
		if i >= 0 {
			c.Live = &s.Stages.Children[i]
		}
		if c.Live != nil && !c.Live.DeletionTimestamp.IsZero() {
			continue // the entry was taken out and is back, perhaps as another kind: it gets a Stage of its own when this one has drained
		}
		children = append(children, c)
	}
	return children
}

func decidePrune(s *Observed) []v1alpha1.Stage {
	var gone []v1alpha1.Stage
	for _, stage := range s.Stages.Children {
		if !graph.IsChildOf(&stage, s.Pipeline) || !stage.DeletionTimestamp.IsZero() {
			continue
		}
		wanted := slices.ContainsFunc(s.Pipeline.Spec.Stages, func(e v1alpha1.PipelineStage) bool {
			return plan.ChildName(s.Pipeline.Name, e.Name) == stage.Name
		})
		if !wanted {
			gone = append(gone, stage)
		}
	}
	return gone
}

func decideRetained(s *Observed) []string {
	planned := map[string]bool{}
	for _, name := range StreamsOf(s.Resolved.Plan) {
		planned[name] = true
	}
	var retained []string
	for _, stream := range s.Pipeline.Status.Streams {
		if !planned[stream.Name] {
			retained = append(retained, stream.Name)
		}
	}
	return retained
}

// StreamsOf names the streams of a plan; the last ones are its buckets.
func StreamsOf(p *plan.Plan) []string {
	var names []string
	for _, s := range p.Streams {
		names = append(names, s.Name)
	}
	return append(names, p.Buckets()...)
}
