package stage

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// TestOtherLanesAreRefused: a stage whose revisions were deleted, and whose manifest has it in other lanes by now, has
// consumers of the lanes that it had. In others it would store dead letters and insights twice, so it stays as it is.
func TestOtherLanesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		lanes int
		want  string
	}{
		"one lane":            {1, `changes the number of lanes of stage "enrich" from 1 to 8`},
		"many lanes, as ever": {8, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline(nil), child("enrich"))
			s.Intake.Former = []intake.Former{{
				Stream: "OTHER", Durable: "shop-obs-enrich_other", Lanes: test.lanes, Consumers: map[string]intake.Lane{"c": {Have: &jetstream.Consumer{}}},
			}}
			in := decide.Decide(s, "")
			if refused := in.Workers == nil; refused != (test.want != "") || !strings.HasPrefix(in.OtherLanes, test.want) {
				t.Fatalf("got %q, workers are left as they are: %t", in.OtherLanes, refused)
			}
			if test.want == "" {
				return
			}
			if len(in.Consumers)+len(in.Drop)+len(in.Prune) > 0 {
				t.Errorf("got %d consumers made, %d and %d ConfigMaps deleted, want all left as it is", len(in.Consumers), len(in.Drop), len(in.Prune))
			}
			setStatus(&s.Stage.Status, report{seen: s, intent: in}, time.Unix(1_700_000_100, 0))
			c := meta.FindStatusCondition(s.Stage.Status.Conditions, v1alpha1.ConditionConsumersReady)
			if c == nil || c.Reason != v1alpha1.ReasonInvalid || c.Message != in.OtherLanes {
				t.Errorf("got %+v", c)
			}
			if !meta.IsStatusConditionTrue(s.Stage.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Error("the stage is not Stalled")
			}
		})
	}
}
