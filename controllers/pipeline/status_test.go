package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/jsm.go/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
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

// TestReasonsOfNATS: why NATS could not be asked is told as what it is; only silence is silence.
func TestReasonsOfNATS(t *testing.T) {
	refusal := api.ApiError{Code: 500, ErrCode: 10049, Description: "internal error"}
	for want, err := range map[string]error{
		v1alpha1.ReasonNATSUnreachable:     &jetstream.UnreachableError{Err: errors.New("no answer")},
		v1alpha1.ReasonNATSForbidden:       &jetstream.ForbiddenError{Subject: "$JS.API.STREAM.CREATE.RAW"},
		v1alpha1.ReasonCredentialsNotFound: &access.CredentialsError{Message: "no Secret"},
		v1alpha1.ReasonStreamFailed:        fmt.Errorf("read stream RAW: %w", refusal),
	} {
		rep := report{seen: &decide.Observed{Resolved: graph.Resolved{Plan: &plan.Plan{}}}, done: outcome{natsErr: err}}
		if got := streamsReady(rep); got.Reason != want || got.Status != metav1.ConditionFalse {
			t.Errorf("%v: got %s %s, want %s", err, got.Status, got.Reason, want)
		}
	}
}
