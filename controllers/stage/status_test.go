package stage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/api/v1alpha1"
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
