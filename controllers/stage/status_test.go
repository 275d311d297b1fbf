package stage

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jsm.go/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// TestConsumersInStatus: status names what exists, and what has been lost with its stream.
func TestConsumersInStatus(t *testing.T) {
	named := []v1alpha1.ConsumerStatus{{Stream: "RAW", Name: "c", Lanes: 1, Pending: 7}}
	tests := map[string]struct {
		before []v1alpha1.ConsumerStatus
		have   *jetstream.Consumer
		change decide.Consumer
		want   []v1alpha1.ConsumerStatus
		lag    *int64
	}{
		"exists":                     {named, &jetstream.Consumer{Pending: 0}, decide.Consumer{}, []v1alpha1.ConsumerStatus{{Stream: "RAW", Name: "c", Lanes: 1}}, new(int64(0))},
		"waits for its stream":       {nil, nil, decide.Consumer{StreamMissing: true}, nil, nil},
		"was lost with its stream":   {named, nil, decide.Consumer{StreamMissing: true}, []v1alpha1.ConsumerStatus{{Stream: "RAW", Name: "c", Lanes: 1}}, nil},
		"is not there for a refusal": {named, nil, decide.Consumer{}, nil, nil},
		"is somebody else's": {
			named, &jetstream.Consumer{}, decide.Consumer{ConsumerChange: jetstream.ConsumerChange{Action: jetstream.ActionNotOwned}}, nil, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.change.Stream, test.change.Name = "RAW", "c"
			test.change.Lane = &intake.Lane{Have: test.have}
			rep := report{
				seen: &decide.Observed{Newest: &revision.Revision{}, Intake: intake.Intake{Inputs: []intake.Input{
					{Stream: "RAW", Durable: "c", Lanes: []intake.Lane{*test.change.Lane}},
				}}},
				intent: decide.Desired{Consumers: []decide.Consumer{test.change}},
				done:   outcome{consumers: map[string]*jetstream.Consumer{"RAW/c": test.have}},
			}
			s := v1alpha1.StageStatus{Consumers: test.before}
			setLag(&s, rep, time.Now())
			if diff := cmp.Diff(test.want, s.Consumers); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.lag, s.Lag); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWhatNATSAnsweredIsSaid: a server that refuses a request is not one that does not answer.
func TestWhatNATSAnsweredIsSaid(t *testing.T) {
	for want, err := range map[string]error{
		v1alpha1.ReasonConsumerFailed:      fmt.Errorf("read consumer c: %w", api.ApiError{Code: 500, Description: "insufficient storage"}),
		v1alpha1.ReasonNATSUnreachable:     &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")},
		v1alpha1.ReasonCredentialsNotFound: &access.CredentialsError{Message: "no secret"},
	} {
		got := consumersReady(report{seen: &decide.Observed{Newest: &revision.Revision{}}, done: outcome{natsErr: err}})
		if got.Status != metav1.ConditionFalse || got.Reason != want || got.Message != err.Error() {
			t.Errorf("got %+v, want %s: %v", got, want, err)
		}
	}
}
