package admission

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
)

// reading names one consumer.
type reading struct{ stream, durable string }

// readings are the consumers of a plan.
func readings(p *plan.Plan) map[reading]bool {
	all := map[reading]bool{}
	for _, s := range p.Stages {
		for _, c := range s.Consumers {
			all[reading{c.Stream, c.Durable}] = true
		}
	}
	return all
}

// backlogs warns of inputs that a stage did not have before: it begins at the oldest stored event. streams are what
// the status of the Pipeline says is stored; place is the field of a stage's inputs, or nil for stages to pass over.
func backlogs(before, now *plan.Plan, streams []v1alpha1.StreamStatus, place func(*plan.Stage) *field.Path) []string {
	stored := map[string]int64{}
	for _, s := range streams {
		stored[s.Name] = s.Messages
	}
	had := readings(before)
	var warnings []string
	for i := range now.Stages {
		s := &now.Stages[i]
		path := place(s)
		for k, in := range s.Config.Inputs {
			n := stored[in.Stream]
			if path == nil || n == 0 || in.Overflow || had[reading{in.Stream, in.Consumer(0, s.Lanes)}] {
				continue
			}
			if !in.Start.IsZero() { // how much that is, status does not say
				warnings = append(warnings, fmt.Sprintf("%s: stage %s starts at what stream %s stored from %s on, and reads at most %d messages",
					path.Index(k), s.Name, in.Stream, in.Start.Format(time.RFC3339), n))
				continue
			}
			warnings = append(warnings, fmt.Sprintf("%s: stage %s starts at the oldest stored event of stream %s, which holds %d messages",
				path.Index(k), s.Name, in.Stream, n))
		}
	}
	return warnings
}

// ofPipeline is the place of the inputs of the Pipeline's own stages.
func ofPipeline(p *v1alpha1.Pipeline) func(*plan.Stage) *field.Path {
	return func(s *plan.Stage) *field.Path {
		for i, entry := range p.Spec.Stages {
			if s.Object == "" && entry.Name == s.Name {
				return field.NewPath("spec", "stages").Index(i).Child("from")
			}
		}
		return nil
	}
}

// ofAttached is the place of the inputs of one attached Stage.
func ofAttached(name string) func(*plan.Stage) *field.Path {
	return func(s *plan.Stage) *field.Path {
		if s.Object != name {
			return nil
		}
		return field.NewPath("spec", "from")
	}
}
