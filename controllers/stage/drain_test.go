package stage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// moved is the snapshot of the stage correlate whose workers read enrich, with a thousand events left there, and
// whose manifest says validate by now; before is the revision that reads enrich.
func moved(t *testing.T) (s *decide.Observed, before *revision.Revision) {
	t.Helper()
	s = snap(t, pipeline(nil), child("correlate"))
	before = s.Newest
	compile(t, s, pipeline(func(p *v1alpha1.Pipeline) {
		p.Generation = 2
		p.Spec.Stages[2].From = []string{"validate"}
	}))
	s.Deployment = mounting(before.ConfigMap)
	s.Intake.Former = []intake.Former{{
		Stream: "SHOP_OBS_ENRICH", Durable: "shop-obs-correlate", Lanes: 1, Events: 1000, Oldest: time.Unix(1_700_000_000, 0), Begun: true,
		Consumers: map[string]intake.Lane{"shop-obs-correlate": {Have: &jetstream.Consumer{Pending: 1000}}},
	}}
	return s, before
}

// marked has the condition say something already.
func marked(s *decide.Observed, reason string) {
	s.Stage.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionInputsDrained, Status: metav1.ConditionFalse, Reason: reason,
		Message: "as before", LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_010, 0)),
	}}
}

// adoptedBetween has the stage be one of a release without revisions, which was to read something for a while: only status tells of that.
func adoptedBetween(s *decide.Observed) {
	s.History = s.History[1:]
	s.Newest.Number = 1
	s.Deployment = mounting(s.Newest.ConfigMap)
	s.Stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_ENRICH", Name: "shop-obs-correlate", Lanes: 1}}
}

// unanswered: one request failed before the former inputs were read.
func unanswered(s *decide.Observed) {
	s.NATSErr, s.Intake = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")}, intake.Intake{}
}

// TestFormerInputs: the workers and the positions stay until what was stored before a change of from is processed,
// whatever fails meanwhile, and the condition says what is going on.
func TestFormerInputs(t *testing.T) {
	const going = "EventsLeft: the workers go on with what was stored in SHOP_OBS_ENRICH before the change: about 1000 events are left; "
	const lost = "RevisionLost: no worker reads what was stored in SHOP_OBS_ENRICH before the change, about 1000 events"
	tests := map[string]struct {
		change func(*decide.Observed)
		// kept: the workers are of the revision before; dropped: the positions are deleted.
		kept, dropped bool
		// says is how the condition begins; empty when there is none.
		says string
	}{
		"events are left":     {func(*decide.Observed) {}, true, false, going},
		"the status is lost":  {func(s *decide.Observed) { s.Stage.Status = v1alpha1.StageStatus{} }, true, false, going},
		"all is processed":    {func(s *decide.Observed) { s.Intake.Former[0].Events = 0 }, false, true, ""},
		"a person says leave": {func(s *decide.Observed) { s.Stage.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"} }, false, true, ""},
		"what is left came after the change": {func(s *decide.Observed) {
			s.Intake.Former[0].Oldest = s.Newest.Created.Add(time.Minute)
		}, false, true, ""},
		"all is processed, but another stage is being deleted": {
			func(s *decide.Observed) { s.Intake.Former[0].Events, s.Leaving = 0, true }, true, false,
			"EventsLeft: the workers go on with what was stored in SHOP_OBS_ENRICH before the change: about 0 events are left",
		},
		"NATS does not answer":                {func(s *decide.Observed) { marked(s, v1alpha1.ReasonEventsLeft); unanswered(s) }, true, false, "EventsLeft: as before"},
		"NATS does not answer from the first": {unanswered, true, false, ""},
		"NATS does not answer, a person says leave": {func(s *decide.Observed) {
			s.Stage.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"}
			unanswered(s)
		}, false, false, ""},
		"NATS does not answer, no input has changed": {func(s *decide.Observed) {
			unanswered(s)
			s.Deployment = mounting(s.Newest.ConfigMap)
		}, false, false, ""},
		"the Deployment is deleted":                {func(s *decide.Observed) { s.Deployment = nil }, true, false, going},
		"the revision is deleted":                  {func(s *decide.Observed) { s.History = s.History[1:] }, false, false, lost},
		"the revision is deleted, nothing is left": {func(s *decide.Observed) { s.History, s.Intake.Former[0].Events = s.History[1:], 0 }, false, true, ""},
		"the revision is deleted, and nobody had begun": {func(s *decide.Observed) {
			s.History, s.Intake.Former[0].Begun = s.History[1:], false
		}, false, false, lost},
		"the workers are of the new revision already": {func(s *decide.Observed) { s.Deployment = mounting(s.Newest.ConfigMap) }, true, false, going},
		"no worker ever read it": {func(s *decide.Observed) {
			s.Deployment, s.Intake.Former[0].Begun = mounting(s.Newest.ConfigMap), false
		}, false, true, ""},
		"no revision tells of it, an earlier release made it, and nobody had begun": {func(s *decide.Observed) {
			adoptedBetween(s)
			s.Intake.Former[0].Begun = false
		}, false, true, ""},
		"no revision tells of it, an earlier release made it": {adoptedBetween, false, false, lost},
		"no revision tells of it, nobody had begun, a revision is deleted": {func(s *decide.Observed) {
			adoptedBetween(s)
			s.Intake.Former[0].Begun, s.Stage.Status.ObservedRevision = false, "obs-correlate-1-0123456789"
		}, false, false, lost},
		"no revision tells of it, nobody had begun, the status is lost": {func(s *decide.Observed) {
			adoptedBetween(s)
			s.Intake.Former[0].Begun, s.Stage.Status = false, v1alpha1.StageStatus{}
		}, false, false, lost},
		"suspended":      {func(s *decide.Observed) { s.Newest.Suspended = true }, true, false, ""},
		"scaled to zero": {func(s *decide.Observed) { s.Stage.Spec.Replicas = new(int32(0)) }, true, false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, before := moved(t)
			test.change(s)
			in := decide.Decide(s, "")
			if got := *in.Workers.Config.Name == before.ConfigMap; got != test.kept {
				t.Errorf("the workers stay as they are: %t, want %t", got, test.kept)
			}
			if got := len(in.Drop) > 0; got != test.dropped {
				t.Errorf("the positions are deleted: %t, want %t", got, test.dropped)
			}
			status := s.Stage.Status.DeepCopy()
			setStatus(status, report{seen: s, intent: in, done: outcome{natsErr: s.NATSErr}}, time.Unix(1_700_000_100, 0))
			says := ""
			if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionInputsDrained); c != nil {
				says = c.Reason + ": " + c.Message
			}
			if (test.says == "") != (says == "") || !strings.HasPrefix(says, test.says) {
				t.Errorf("the condition says %q, want %q", says, test.says)
			}
		})
	}
}

// TestInputsThatFollowEachOther: the workers process what they read, before they come to what the manifest named in between.
func TestInputsThatFollowEachOther(t *testing.T) {
	s, before := moved(t)
	between := s.Newest
	compile(t, s, pipeline(func(p *v1alpha1.Pipeline) { p.Generation, p.Spec.Stages[2].From = 3, []string{"ingress"} }))
	second := intake.Former{
		Stream: between.Inputs[0].Stream, Durable: between.Inputs[0].Durable, Lanes: 1, Events: 7, Oldest: time.Unix(1_700_000_000, 0),
		Consumers: map[string]intake.Lane{between.Inputs[0].Durable: {Have: &jetstream.Consumer{Pending: 7}}},
	}
	s.Intake.Former = append(s.Intake.Former, second)
	in := decide.Decide(s, "")
	if in.Run != before || len(in.Held) != 1 || len(in.Drop) != 1 || in.Drop[0].Stream != second.Stream {
		t.Errorf("got revision %s with %d inputs held, and %v deleted; want the first, and what nobody read deleted", in.Run.Name, len(in.Held), in.Drop)
	}
	s.Intake.Former[1].Begun = true
	s.Deployment = nil
	if in = decide.Decide(s, ""); in.Run != before || len(in.Held) != 2 || len(in.Drop) != 0 {
		t.Errorf("got revision %s with %d inputs held, and %v deleted; want the first", in.Run.Name, len(in.Held), in.Drop)
	}
	s.Intake.Former = s.Intake.Former[1:]
	if in = decide.Decide(s, ""); in.Run != between {
		t.Errorf("got revision %s, want the second", in.Run.Name)
	}
}
