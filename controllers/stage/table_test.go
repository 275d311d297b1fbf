package stage

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/stage/internal/decide"
	"millrace.dev/millrace/test/pass"
)

// began is the time of the first pass of each row; the one that a row is about is a minute later.
var began = time.Unix(1_700_001_000, 0)

// scene is what a row begins with: the stage correlate, with which all is well.
type scene struct {
	*decide.Observed
	t *testing.T
	p *v1alpha1.Pipeline
	// ran is the revision of the first pass.
	ran *revision.Revision
}

// healthy is a stage whose consumers and workers are as wanted.
func healthy(t *testing.T, change func(*v1alpha1.Pipeline)) *scene {
	t.Helper()
	stage := child("correlate")
	stage.Generation = 1
	accept(stage, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	s := &scene{Observed: snap(t, pipeline(change), stage), t: t, p: pipeline(change)}
	s.ran = s.Newest
	s.consume()
	s.run(1)
	return s
}

// accept is what the Pipeline controller says of the stage.
func accept(stage *v1alpha1.Stage, value metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&stage.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: value, Reason: reason, ObservedGeneration: stage.Generation, LastTransitionTime: metav1.NewTime(began),
	})
}

// consume has all consumers of the newest revision exist as wanted.
func (s *scene) consume() {
	for i := range s.Intake.Inputs {
		for j := range s.Intake.Inputs[i].Lanes {
			lane := &s.Intake.Inputs[i].Lanes[j]
			lane.Have = &jetstream.Consumer{Config: jetstream.ConsumerConfig(lane.Want, access.StageOwner(s.Stage, ""))}
		}
	}
}

// lane is the only one of the only input.
func (s *scene) lane() *intake.Lane { return &s.Intake.Inputs[0].Lanes[0] }

// run has so many workers of the newest revision be ready.
func (s *scene) run(n int32) {
	s.Deployment = mounting(s.Newest.ConfigMap)
	s.Deployment.Annotations = map[string]string{revision.AnnotationRevision: s.Newest.Name}
	s.Deployment.Spec.Replicas = &n
	s.Deployment.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, ReadyReplicas: n}
}

// edit writes another revision, of a manifest that was changed.
func (s *scene) edit(change func(*v1alpha1.Pipeline)) {
	s.t.Helper()
	s.p.Generation++
	change(s.p)
	compile(s.t, s.Observed, s.p)
	s.consume()
}

// rename has the stage read another one, and leave so many events of the one that it read.
func (s *scene) rename(left int64) {
	s.t.Helper()
	was := s.Newest.Inputs[0]
	s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Stages[2].From = []string{"validate"} })
	s.Intake.Former = []intake.Former{{
		Stream: was.Stream, Durable: was.Durable, Lanes: 1, Events: left, Oldest: time.Unix(1_700_000_000, 0), Begun: true,
		Consumers: map[string]intake.Lane{was.Durable: {Have: &jetstream.Consumer{Pending: uint64(left)}}},
	}}
}

// scales has the number of workers follow the lag by a backend, from the first pass on.
func (s *scene) scales(b autoscale.Backend) {
	s.t.Helper()
	s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Stages[2].Workers.Max = 4 })
	s.Newest.Lanes = 8
	s.run(1)
	s.Scaling.Backend = b
}

// asleep has NATS be asked in vain.
func (s *scene) asleep(err error) {
	s.NATSErr, s.Intake = err, intake.Intake{}
}

// What the rows meet.
var (
	silent    = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")}
	forbidden = &jetstream.ForbiddenError{Server: "nats://nats:4222", Subject: "$JS.API.CONSUMER.CREATE.RAW"}
	noStream  = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: nats.ErrJetStreamNotEnabled}
	full      = &jetstream.LimitError{Says: "the account has no room", Err: api.ApiError{Code: 400, ErrCode: 10026}}
	missing   = &access.CredentialsError{Message: "Secret nats-user does not exist"}
	unpaired  = &access.CredentialsError{Message: "Secret nats-user is not for this server", Reason: v1alpha1.ReasonCredentialsNotForServer}

	deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}
	external    = autoscale.NewPrometheus(5 * time.Minute) // a HorizontalPodAutoscaler, as that of autoscale.External
	withKEDA    = autoscale.KEDA{Down: 5 * time.Minute}
)

func invalid() error {
	return apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "obs-correlate", nil)
}

// brokenHPA is one that gets no metrics.
func brokenHPA() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{
			Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetExternalMetric", Message: "no answer",
		}},
	}}
}

func scaledObject(conditions ...any) *unstructured.Unstructured {
	o := keda.New()
	o.SetName("obs-correlate")
	o.Object["status"] = map[string]any{"conditions": conditions}
	return o
}

// TestTable says what a Stage tells people, and when it looks again, in each situation: what was seen, and what came of what was to be
// done. A row begins with a healthy stage and changes what it is named after.
func TestTable(t *testing.T) {
	for name, row := range rows() {
		t.Run(name, func(t *testing.T) {
			s := healthy(t, nil)
			if row.before != nil {
				row.before(s)
			}
			now, recorder := began, &pass.Recorder{}
			r := &Reconciler{Controller: lifecycle.Controller{
				Now: func() time.Time { return now }, Resync: 5 * time.Minute, Fresh: 10 * time.Second,
			}}
			look := func(done func(decide.Desired, *outcome)) (reconcile.Result, error) {
				r.Recorder = recorder
				in := decide.Decide(s.Observed, "")
				rep := report{seen: s.Observed, intent: in, done: nothing(s.Observed, in)}
				if done != nil {
					done(in, &rep.done)
				}
				return lifecycle.Again(r.conclude(rep, func(before *v1alpha1.Stage) error {
					setStatus(&s.Stage.Status, rep, now)
					r.EventTurned(s.Stage, before)
					return nil
				}))
			}
			if _, err := look(row.first); err != nil {
				t.Fatal(err)
			}
			now, recorder = began.Add(time.Minute), &pass.Recorder{}
			if row.change != nil {
				row.change(s)
			}
			result, err := look(row.done)
			table.Check(t, row.want, pass.Got{Conditions: s.Stage.Status.Conditions, Events: recorder, Result: result, Err: err})
		})
	}
}

var table = pass.Table{
	Healthy: []string{"Accepted True Accepted", "ConsumersReady True Ready", "WorkersAvailable True Ready"},
	Resync:  status.Spread(5*time.Minute, "stage-uid"), Fresh: status.Spread(10*time.Second, "stage-uid"),
}

// row is one situation.
type row struct {
	// before is what is so already when the operator looks the first time, and first what came of what was to be done then.
	before func(*scene)
	first  func(decide.Desired, *outcome)
	// change is what is so at the second look, and done what came of what was to be done then. Without one nothing was done.
	change func(*scene)
	done   func(decide.Desired, *outcome)
	want   pass.Want
}
