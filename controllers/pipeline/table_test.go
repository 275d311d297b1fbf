package pipeline

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/test/pass"
	"millrace.dev/millrace/workers/config"
)

// began is the time of the first pass of each row; the one that a row is about is a minute later.
var (
	began    = time.Unix(1_700_001_000, 0)
	settings = revision.Settings{Version: "1", Image: "registry.example/millrace:1.0.0"}
)

// scene is what a row begins with: a pipeline of the stages validate and correlate, with which all is well.
type scene struct {
	*decide.Observed
	t *testing.T
	// synced is what the operator's server says of itself.
	synced durability.Answer
}

// fresh is a pipeline that was just made.
func fresh(t *testing.T) *scene {
	t.Helper()
	p := &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs", UID: "pipeline-uid", Generation: 1},
		Spec: v1alpha1.PipelineSpec{Stages: []v1alpha1.PipelineStage{
			{Name: "validate", StageNode: v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{}}},
			{Name: "correlate", StageNode: v1alpha1.StageNode{From: []string{"validate"}, Correlate: &v1alpha1.CorrelateSpec{Realtime: &v1alpha1.RealtimeSpec{}}}},
		}},
	}
	s := &scene{t: t, Observed: &decide.Observed{
		Pipeline: p, Running: map[string]decide.Running{}, Taken: map[string]*v1alpha1.Stage{}, Streams: map[string]*jetstream.Stream{},
	}}
	s.plan()
	return s
}

// healthy is a pipeline whose streams are as wanted and whose stages are ready.
func healthy(t *testing.T) *scene {
	t.Helper()
	s := fresh(t)
	s.Stages.Children = []v1alpha1.Stage{child("correlate"), child("validate")}
	for _, change := range decide.Decide(s.Observed, "", settings).Streams {
		s.Streams[change.Name] = &jetstream.Stream{Config: change.Config}
	}
	s.settle()
	return s
}

// plan computes the plan again.
func (s *scene) plan() {
	s.t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Resolved = planner.Resolve(s.Pipeline, s.Stages.Attached, decide.LanesOf(s.Running))
}

// settle has all revisions be written, and all stages run them.
func (s *scene) settle() {
	s.t.Helper()
	for _, c := range decide.Decide(s.Observed, "", settings).Revisions {
		for _, w := range c.Step.Write {
			object, err := revision.Object(c.Stage, nil, w.Number, w.Content, w.Marks)
			if err != nil {
				s.t.Fatal(err)
			}
			r, err := revision.Decode(object)
			if err != nil {
				s.t.Fatal(err)
			}
			s.Running[c.Stage.Name] = decide.Running{History: append(s.Running[c.Stage.Name].History, r)}
			c.Stage.Status.ObservedRevision = r.Name
		}
		says(c.Stage, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// edit changes the spec.
func (s *scene) edit(change func(*v1alpha1.PipelineSpec)) {
	s.t.Helper()
	s.Pipeline.Generation++
	change(&s.Pipeline.Spec)
	s.plan()
}

// stage is one of the pipeline.
func (s *scene) stage(name string) *v1alpha1.Stage {
	s.t.Helper()
	for _, stage := range decide.Stages(s.Stages, s.Pipeline) {
		if graph.Name(stage) == name {
			return stage
		}
	}
	s.t.Fatalf("no stage %s", name)
	return nil
}

// attach has a user attach a stage that reads a port.
func (s *scene) attach(from string) *v1alpha1.Stage {
	s.t.Helper()
	s.Stages.Attached = []v1alpha1.Stage{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive", UID: "archive-uid", Generation: 1},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{
			From: []string{from}, Validate: &v1alpha1.ValidateSpec{},
		}},
	}}
	s.plan()
	return &s.Stages.Attached[0]
}

// says is what a stage says of itself.
func says(stage *v1alpha1.Stage, value metav1.ConditionStatus, reason string) {
	set := func(kind string, value metav1.ConditionStatus) {
		meta.SetStatusCondition(&stage.Status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: "it says", ObservedGeneration: stage.Generation})
	}
	set(v1alpha1.ConditionReady, value)
}

// stalls is a stage that a person has to look at.
func stalls(stage *v1alpha1.Stage) {
	says(stage, metav1.ConditionFalse, v1alpha1.ReasonObjectRefused)
	meta.SetStatusCondition(&stage.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonObjectRefused})
}

// child is the Stage of an entry.
func child(name string) v1alpha1.Stage {
	return v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "obs-" + name, UID: types.UID(name + "-uid"), Generation: 1,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
			}},
		},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: name},
	}
}

// What the rows meet.
var (
	silent    = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: errors.New("timeout")}
	forbidden = &jetstream.ForbiddenError{Server: "nats://nats:4222", Subject: "$JS.API.STREAM.CREATE.RAW"}
	noStream  = &jetstream.UnreachableError{Server: "nats://nats:4222", Err: nats.ErrJetStreamNotEnabled}
	full      = &jetstream.LimitError{Says: "the account has no room", Err: api.ApiError{Code: 400, ErrCode: 10047}}
	missing   = &access.CredentialsError{Message: "Secret nats-user does not exist"}
	unpaired  = &access.CredentialsError{Message: "Secret nats-user is not for this server", Reason: v1alpha1.ReasonCredentialsNotForServer}
	stages    = schema.GroupResource{Group: "millrace.dev", Resource: "stages"}
)

func invalid() error {
	return apierrors.NewInvalid(schema.GroupKind{Group: "millrace.dev", Kind: "Stage"}, "obs-validate", nil)
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

// TestTable says what a Pipeline tells people, and when it looks again, in each situation: what was seen, and what came of what was to be
// done. A row begins with a healthy pipeline and changes what it is named after.
func TestTable(t *testing.T) {
	for name, row := range rows() {
		t.Run(name, func(t *testing.T) {
			s := healthy(t)
			if row.before != nil {
				row.before(s)
			}
			now, recorder := began, &pass.Recorder{}
			r := &Reconciler{Controller: lifecycle.Controller{
				Now: func() time.Time { return now }, Resync: 5 * time.Minute, Fresh: 10 * time.Second,
			}}
			look := func(done func(decide.Desired, *outcome)) (reconcile.Result, error) {
				r.Recorder = recorder
				in := decide.Decide(s.Observed, "", settings)
				rep := report{seen: s.Observed, intent: in, done: nothing(s.Observed)}
				rep.powerSafe = powerSafe(s.Pipeline, func() (durability.Answer, string) { return s.synced, "it says" })
				rep.done.kubernetes = errors.Join(in.Failed...)
				if done != nil {
					done(in, &rep.done)
				}
				return lifecycle.Again(r.conclude(rep, func(before *v1alpha1.Pipeline) error {
					r.EventTurned(s.Pipeline, before)
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
			table.Check(t, row.want, pass.Got{Conditions: s.Pipeline.Status.Conditions, Events: recorder, Result: result, Err: err})
		})
	}
}

var table = pass.Table{
	Healthy: []string{"Accepted True Accepted", "StreamsReady True Ready", "StagesReady True Ready"},
	Resync:  status.Spread(5*time.Minute, "pipeline-uid"), Fresh: status.Spread(10*time.Second, "pipeline-uid"),
}
