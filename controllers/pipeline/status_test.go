package pipeline

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/controllers/plan"
)

// TestPipelineWithoutSnapshots: a pipeline whose bucket of snapshots finds no room in the account is ready, and says what it lacks. One that
// lacks the bucket of leases is not.
func TestPipelineWithoutSnapshots(t *testing.T) {
	full := errors.New("the account has no room")
	changes := []jetstream.StreamChange{{Name: "RAW"}, {Name: "KV_leases", Bucket: "leases"}, jetstream.CompareStates(plan.States{Bucket: "STATE_leases"}, jetstream.Owner{}, nil)}
	for name, c := range map[string]struct {
		done  outcome
		ready metav1.ConditionStatus
		says  string
		waits bool
	}{
		"all is there":     {outcome{}, metav1.ConditionTrue, "3 streams are as wanted", false},
		"no snapshots":     {outcome{spared: map[string]error{"KV_STATE_leases": full}}, metav1.ConditionTrue, "it keeps no snapshots, so that a worker that takes a lane over reads more input again: the account has no room", false},
		"no leases":        {outcome{refusals: map[string]error{"KV_leases": full}}, metav1.ConditionFalse, "the account has no room", true},
		"neither of these": {outcome{refusals: map[string]error{"KV_leases": full}, spared: map[string]error{"KV_STATE_leases": full}}, metav1.ConditionFalse, "the account has no room", true},
	} {
		t.Run(name, func(t *testing.T) {
			rep := report{seen: &decide.Observed{Resolved: graph.Resolved{Plan: &plan.Plan{}}}, intent: decide.Desired{Streams: changes}, done: c.done}
			got := streamsReady(rep)
			if got.Status != c.ready || !strings.HasSuffix(got.Message, c.says) || c.done.waiting() != c.waits {
				t.Errorf("%s: %s; waits: %t", got.Status, got.Message, c.done.waiting())
			}
		})
	}
}
