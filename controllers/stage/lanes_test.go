package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// fromOf has the stage enrich read something.
func fromOf(from ...string) *v1alpha1.Pipeline {
	return pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].From = from })
}

// TestOtherLanesAreRefused: in other lanes a stage would store dead letters and insights twice, so it goes on as it is.
func TestOtherLanesAreRefused(t *testing.T) {
	many, one := []string{"validate"}, []string{"validate", "validate/dead-letter"}
	const eightToOne, oneToEight = `from: changes the number of lanes of stage "enrich" from 8 to 1`, `from: changes the number of lanes of stage "enrich" from 1 to 8`
	tests := map[string]struct {
		was, now []string
		change   func(*snapshot)
		// says is how the message of Accepted begins; empty when the stage does as the manifest says.
		says string
	}{
		"as it was":          {was: many, now: many},
		"from many to one":   {was: many, now: one, says: eightToOne},
		"from one to many":   {was: one, now: many, says: oneToEight},
		"undone":             {was: one, now: one},
		"status is lost":     {was: many, now: one, says: eightToOne, change: func(s *snapshot) { s.stage.Status = v1alpha1.StageStatus{} }},
		"NATS is away":       {was: many, now: one, says: eightToOne, change: unanswered},
		"revision is lost":   {was: many, now: one, says: eightToOne, change: func(s *snapshot) { s.configMaps, s.durables = nil, []string{"shop-obs-enrich_lane-0"} }},
		"revision is edited": {was: one, now: many, says: oneToEight, change: func(s *snapshot) { s.configMaps[0].Data, s.durables = nil, []string{"shop-obs-enrich"} }},
		"it never ran":       {was: many, now: one, change: func(s *snapshot) { s.stage.Status, s.configMaps, s.deployment = v1alpha1.StageStatus{}, nil, nil }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := liveConfig(mustDecide(t, snap(t, fromOf(test.was...), child("enrich"))))
			s := snap(t, fromOf(test.now...), child("enrich"))
			s.configMaps = []corev1.ConfigMap{before}
			s.stage.Status.Revision = before.Name
			s.deployment = &appsv1.Deployment{}
			s.deployment.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: configVolume, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: before.Name}},
			}}}
			s.stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_VALIDATE", Name: "shop-obs-enrich_lane", Lanes: 8}}
			s.former = []former{{entry: s.stage.Status.Consumers[0], lanes: durablesOf(s.stage.Status.Consumers[0])}}
			if test.change != nil {
				test.change(s)
			}
			in := mustDecide(t, s)
			if refused := in.workers == nil; refused != (test.says != "") {
				t.Fatalf("workers are left as they are: %t, want %t", refused, test.says != "")
			}
			if test.says == "" {
				return
			}
			if len(in.consumers)+len(in.drop)+len(in.prune) > 0 {
				t.Errorf("got %d consumers made, %d and %d ConfigMaps deleted, want all left as it is", len(in.consumers), len(in.drop), len(in.prune))
			}
			setStatus(&s.stage.Status, report{seen: s, intent: in, done: outcome{natsErr: s.natsErr}}, time.Unix(1_700_000_100, 0))
			c := meta.FindStatusCondition(s.stage.Status.Conditions, v1alpha1.ConditionAccepted)
			if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonInvalid || !strings.HasPrefix(c.Message, test.says) {
				t.Errorf("got %s %s: %s", c.Status, c.Reason, c.Message)
			}
			if !meta.IsStatusConditionTrue(s.stage.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Error("the stage is not Stalled")
			}
		})
	}
}

// TestConsumersTellLanes: of a stage without a revision, as after a restore, the consumers say in how many lanes it ran. They are not
// listed otherwise.
func TestConsumersTellLanes(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	js := harness.JetStream(t, server)
	s := snap(t, fromOf("validate", "validate/dead-letter"), child("enrich"))
	for i, name := range []string{"SHOP_OBS_VALIDATE", "SHOP_OBS_DEAD_LETTERS"} {
		stream, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: name, Subjects: []string{fmt.Sprintf("s%d.>", i)}})
		if err != nil {
			t.Fatal(err)
		}
		for lane, stage := range []string{"enrich", "enrich", "other"} {
			_, err := stream.CreateConsumer(t.Context(), natsjs.ConsumerConfig{
				Durable: fmt.Sprintf("shop-obs-%s_lane-%d", stage, lane), AckPolicy: natsjs.AckAllPolicy,
				Metadata: map[string]string{jetstream.MetadataPipeline: "shop/obs", jetstream.MetadataStage: stage},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	var err error
	if s.nats, err = pool.Client(jetstream.Server{URL: server.URL()}); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{}
	if err := r.gatherConsumers(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if want := `from 8 to 1`; !strings.Contains(s.lanesChange(), want) {
		t.Errorf("got %q of consumers %q, want %q", s.lanesChange(), s.durables, want)
	}

	have := liveConfig(mustDecide(t, snap(t, fromOf("validate", "validate/dead-letter"), child("enrich"))))
	s.stage.Status.Revision, s.configMaps, s.durables, s.inputs = have.Name, []corev1.ConfigMap{have}, nil, nil
	s.stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_VALIDATE", Name: "shop-obs-enrich", Lanes: 1}}
	if err := r.gatherConsumers(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if len(s.durables) > 0 || s.lanesChange() != "" {
		t.Errorf("got consumers %q and %q of a stage with a revision, want none", s.durables, s.lanesChange())
	}
}

func mustDecide(t *testing.T, s *snapshot) intent {
	t.Helper()
	in, err := decide(s, settings)
	if err != nil {
		t.Fatal(err)
	}
	return in
}
