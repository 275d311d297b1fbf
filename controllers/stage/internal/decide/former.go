package decide

import (
	"cmp"
	"slices"
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/revision"
)

// A stage that is to read something else first processes what was stored for it until then: nothing is lost when the graph of
// a running pipeline changes. What comes later is for the graph as it is now.

// skew is how far the clocks of Kubernetes and NATS may differ, and more than the fraction of a second that
// the times of Kubernetes lack.
const skew = 5 * time.Second

// Drained says whether nothing is left that was stored before a moment; of all that is stored when the
// moment is zero.
func Drained(f intake.Former, before time.Time) bool {
	return f.Events == 0 || !before.IsZero() && f.Oldest.After(before.Add(skew))
}

// choose is the revision that workers are to be of, and why it is not the newest: held are the former inputs that are to be
// read for a while. lost are former inputs with events left that no revision reads any more, so that nobody processes them,
// and nobody but a person may say that nobody has to. An input that no worker ever read is neither: it was
// removed from the manifest before a worker could read it.
func choose(s *Observed) (run *revision.Revision, held, lost []intake.Former) {
	deployed := s.deployed()
	if LeavesUnprocessed(s.Stage) {
		return s.Newest, nil, nil
	}
	if s.unsure() {
		return deployed, nil, nil
	}
	for _, f := range s.Intake.Former {
		since := s.History.Left(f.Stream, f.Durable)
		left := !Drained(f, since)
		reader := s.History.Reading(f.Stream, f.Durable)
		switch {
		case deployed != nil && deployed.Reads(f.Stream, f.Durable):
			if left || s.Leaving { // what other stages still make of what they are to process comes in
				held = append(held, f)
				run = deployed
			}
		case reader == nil && left && !s.neverRead(f):
			lost = append(lost, f)
		case reader != nil && left && (f.Begun || s.unknown()): // its workers are gone
			held = append(held, f)
			if run == nil || run != deployed && reader.Number < run.Number {
				run = reader
			}
		}
	}
	if run == nil {
		run = s.Newest
	}
	return run, held, lost
}

// decideDrop names the consumers of former inputs that are neither held nor lost.
func decideDrop(s *Observed, in Desired) []Durable {
	var drop []Durable
	for _, f := range s.Intake.Former {
		same := func(o intake.Former) bool {
			return o.Stream == f.Stream && o.Durable == f.Durable && o.Lanes == f.Lanes
		}
		if slices.ContainsFunc(in.Held, same) || slices.ContainsFunc(in.Lost, same) {
			continue
		}
		if in.Run != s.Newest && in.Run.Reads(f.Stream, f.Durable) {
			continue // its workers are bound to it until they are replaced
		}
		for name := range f.Consumers {
			drop = append(drop, Durable{f.Stream, name})
		}
	}
	slices.SortFunc(drop, func(a, b Durable) int { return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Name, b.Name)) })
	return drop
}

// deployed is the revision that the workers are of, or were of before somebody deleted the Deployment; nil when it is not known.
func (s *Observed) deployed() *revision.Revision {
	if s.Deployment == nil {
		i := slices.IndexFunc(s.History, func(r *revision.Revision) bool { return r.Name == s.Stage.Status.Revision })
		if i < 0 {
			return nil
		}
		return s.History[i]
	}
	mounted := revision.Mounted(s.Deployment)
	for _, r := range s.History {
		if r.Name == s.Deployment.Annotations[revision.AnnotationRevision] && r.ConfigMap == mounted {
			return r
		}
	}
	return s.History.Mounting(mounted)
}

// neverRead says that no worker can have come to an input which no revision reads: the status tells of it, and every revision that there
// ever was is there. A release that wrote no revisions had made its consumers before workers were to read it.
func (s *Observed) neverRead(f intake.Former) bool {
	return !f.Begun && s.History.Complete(s.Stage.Status.ObservedRevision) &&
		slices.ContainsFunc(s.Stage.Status.Consumers, func(c v1alpha1.ConsumerStatus) bool { return c.Stream == f.Stream && c.Name == f.Durable })
}

// unknown says that nothing tells whether there ever were workers: the Deployment is gone, and so is the status.
func (s *Observed) unknown() bool {
	return s.Deployment == nil && s.Stage.Status.ObservedRevision == ""
}

// unsure says that workers may be at work on former inputs, and that NATS could not be asked: they stay.
func (s *Observed) unsure() bool {
	deployed := s.deployed()
	return s.NATSErr != nil && deployed != nil && slices.ContainsFunc(deployed.Inputs, func(in revision.Input) bool {
		return !s.Newest.Reads(in.Stream, in.Durable)
	})
}

// LeavesUnprocessed says that a person has said to leave what is not processed. Who deletes a stage that processes stored input again wants
// it to stop.
func LeavesUnprocessed(stage *v1alpha1.Stage) bool {
	return stage.Annotations[v1alpha1.AnnotationDrain] == "false" || stage.Spec.StartTime != nil
}

// OthersLeave says whether some stage of the pipeline, but this one, is being deleted.
func OthersLeave(stages graph.Stages, but *v1alpha1.Stage) bool {
	for _, s := range slices.Concat(stages.Children, stages.Attached) {
		if s.UID != but.UID && !s.DeletionTimestamp.IsZero() {
			return true
		}
	}
	return false
}
