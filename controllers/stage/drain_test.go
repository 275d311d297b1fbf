package stage

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// moved is the snapshot of the stage correlate whose workers read enrich, with a thousand events left there, and
// whose manifest says validate by now; before is the revision that reads enrich.
func moved(t *testing.T) (s *snapshot, before corev1.ConfigMap) {
	t.Helper()
	in, err := decide(snap(t, pipeline(nil), child("correlate")), settings)
	if err != nil {
		t.Fatal(err)
	}
	before = liveConfig(in)
	s = snap(t, pipeline(func(p *v1alpha1.Pipeline) {
		p.Generation = 2
		p.Spec.Stages[2].From = []string{"validate"}
	}), child("correlate"))
	entry := v1alpha1.ConsumerStatus{Stream: "SHOP_OBS_ENRICH", Name: "shop-obs-correlate", Lanes: 1}
	s.stage.Status.Revision = before.Name
	s.stage.Status.Consumers = []v1alpha1.ConsumerStatus{entry}
	s.deployment = &appsv1.Deployment{}
	s.configMaps = []corev1.ConfigMap{before}
	s.former = []former{{entry: entry, lanes: durablesOf(entry), events: 1000, oldest: time.Unix(1_700_000_000, 0), begun: true}}
	return s, before
}

// marked has the condition say something already.
func marked(s *snapshot, reason string) {
	s.stage.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionInputsDrained, Status: metav1.ConditionFalse, Reason: reason,
		Message: "as before", LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_010, 0)),
	}}
}

// unanswered: one request failed before the former inputs were read.
func unanswered(s *snapshot) {
	s.natsErr, s.former = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")}, nil
}

// TestFormerInputs: the workers and the positions stay until what was stored before a change of from is processed,
// whatever fails meanwhile, and the condition says what is going on.
func TestFormerInputs(t *testing.T) {
	const going = "EventsLeft: the workers go on with what was stored in SHOP_OBS_ENRICH before the change: about 1000 events are left; "
	const lost = "RevisionLost: no worker reads what was stored in SHOP_OBS_ENRICH before the change, about 1000 events"
	tests := map[string]struct {
		change func(*snapshot)
		// kept: the workers are of the revision before; dropped: the positions are deleted.
		kept, dropped bool
		// says is how the condition begins; empty when there is none.
		says string
	}{
		"events are left":     {func(*snapshot) {}, true, false, going},
		"all is processed":    {func(s *snapshot) { s.former[0].events = 0 }, false, true, ""},
		"a person says leave": {func(s *snapshot) { s.stage.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"} }, false, true, ""},
		"what is left came after the change": {func(s *snapshot) {
			marked(s, v1alpha1.ReasonEventsLeft)
			s.former[0].oldest = time.Unix(1_700_000_060, 0)
		}, false, true, ""},
		"NATS does not answer":                {func(s *snapshot) { marked(s, v1alpha1.ReasonEventsLeft); unanswered(s) }, true, false, "EventsLeft: as before"},
		"NATS does not answer from the first": {unanswered, true, false, ""},
		"NATS does not answer, the status is lost": {func(s *snapshot) {
			unanswered(s)
			s.deployment.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: configVolume, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.configMaps[0].Name}},
			}}}
			s.stage.Status = v1alpha1.StageStatus{}
		}, true, false, ""},
		"NATS does not answer, a person says leave": {func(s *snapshot) {
			s.stage.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"}
			unanswered(s)
		}, false, false, ""},
		"NATS does not answer, no input has changed": {func(s *snapshot) {
			unanswered(s)
			s.stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_VALIDATE", Name: "shop-obs-correlate", Lanes: 1}}
			s.configMaps = []corev1.ConfigMap{present(s)}
			s.stage.Status.Revision = s.configMaps[0].Name
			s.pipeline.Annotations = map[string]string{v1alpha1.AnnotationRestart: "now"}
		}, false, false, ""},
		"the Deployment is deleted": {func(s *snapshot) { s.deployment = nil }, true, false, going},
		"the ConfigMap is deleted":  {func(s *snapshot) { s.configMaps = nil }, false, false, lost},
		"the ConfigMap is damaged":  {func(s *snapshot) { s.configMaps[0].Data = nil }, true, false, going},
		"the ConfigMap was deleted before": {func(s *snapshot) {
			marked(s, v1alpha1.ReasonRevisionLost)
			s.former[0].begun = false
			s.configMaps = []corev1.ConfigMap{present(s)}
			s.stage.Status.Revision = s.configMaps[0].Name
		}, false, false, lost},
		"the workers are of the new revision already": {func(s *snapshot) {
			s.configMaps = append(s.configMaps, present(s))
			s.stage.Status.Revision = s.configMaps[1].Name
		}, false, false, lost},
		"no worker ever read it": {func(s *snapshot) {
			s.configMaps = []corev1.ConfigMap{present(s)}
			s.stage.Status.Revision, s.former[0].begun = s.configMaps[0].Name, false
		}, false, true, ""},
		"suspended":        {func(s *snapshot) { s.node.Suspended = true }, true, false, ""},
		"scaled to zero":   {func(s *snapshot) { s.stage.Spec.Replicas = new(int32(0)) }, true, false, ""},
		"suspended midway": {func(s *snapshot) { marked(s, v1alpha1.ReasonEventsLeft); s.node.Suspended = true }, true, false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, before := moved(t)
			test.change(s)
			in, err := decide(s, settings)
			if err != nil {
				t.Fatal(err)
			}
			if got := in.workers == nil || *in.workers.config.Name == before.Name; got != test.kept {
				t.Errorf("the workers stay as they are: %t, want %t", got, test.kept)
			}
			if got := len(in.drop) > 0; got != test.dropped {
				t.Errorf("the positions are deleted: %t, want %t", got, test.dropped)
			}
			status := s.stage.Status.DeepCopy()
			setStatus(status, report{seen: s, intent: in, done: outcome{natsErr: s.natsErr}}, time.Unix(1_700_000_100, 0))
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

// present is the ConfigMap of what the manifest says now.
func present(s *snapshot) corev1.ConfigMap {
	r, err := newRevision(s, settings)
	if err != nil {
		panic(err)
	}
	return corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.name, Annotations: r.marks}, Data: r.data}
}

// TestLookAtFormerInputs: often while workers are at work on them, and not for what nobody does.
func TestLookAtFormerInputs(t *testing.T) {
	away := &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")}
	for name, test := range map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"workers are at work":  {v1alpha1.ReasonEventsLeft, nil, true},
		"nobody reads them":    {v1alpha1.ReasonRevisionLost, nil, false},
		"NATS does not answer": {v1alpha1.ReasonEventsLeft, away, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := moved(t)
			marked(s, test.reason)
			s.stage.Status.Conditions = append(s.stage.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionConsumersReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_000, 0)),
			})
			r := &Reconciler{Now: func() time.Time { return time.Unix(1_700_000_100, 0) }, Resync: time.Hour, Fresh: 10 * time.Second}
			got := r.next(s.stage, s.stage, outcome{natsErr: test.err}, false).RequeueAfter
			if soon := got == time.Second; soon != test.want {
				t.Errorf("looks again after %s", got)
			}
		})
	}
}
