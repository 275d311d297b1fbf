package stage

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/stage/internal/decide"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// TestNewestRevisionDeleted: an earlier one is not what the stage is to run, and what it reads is not what it had. Until the Pipeline
// controller has written the newest again, all stays as it is.
func TestNewestRevisionDeleted(t *testing.T) {
	s, _ := moved(t)
	newest := s.Newest
	s.Stage.Status.ObservedRevision = newest.Name
	for name, test := range map[string]struct {
		history revision.History
		want    *revision.Revision
	}{
		"all are there":              {s.History, newest},
		"the newest is deleted":      {s.History[:1], nil},
		"all are deleted":            {nil, nil},
		"only the newest is there":   {s.History[1:], newest},
		"it is written again":        {append(s.History[:1:1], newest), newest},
		"another of the same number": {append(s.History[:1:1], &revision.Revision{Number: newest.Number, Name: "other"}), nil},
	} {
		got := decide.Newest(s.Stage, test.history)
		if name == "another of the same number" {
			if got == nil || got.Name != "other" {
				t.Errorf("%s: got %v", name, got)
			}
			continue
		}
		if got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	s.Newest = nil
	if in := decide.Decide(s, ""); in.Workers != nil || len(in.Drop)+len(in.Consumers) > 0 {
		t.Errorf("without its newest revision a stage gets %+v", in)
	}
}

// TestRefusedSecretOfAnEarlierRevision: one that was refused is not mounted when the next revision changes from.
func TestRefusedSecretOfAnEarlierRevision(t *testing.T) {
	of := func(generation int64, secret, from string) *v1alpha1.Pipeline {
		return pipeline(func(p *v1alpha1.Pipeline) {
			p.Generation = generation
			p.Spec.NATS = &v1alpha1.NATSSpec{URL: "nats://evil:4222"}
			p.Spec.Stages[2].Workers.NATSSecretName, p.Spec.Stages[2].Workers.Image = secret, "evil.example/x:1"
			p.Spec.Stages[2].From = []string{from}
		})
	}
	s := snap(t, of(1, "mine", "enrich"), child("correlate"))
	first := s.Newest
	s.Deployment = mounting(first.ConfigMap)
	s.Deployment.Annotations = map[string]string{revision.AnnotationRevision: first.Name}
	second := compile(t, s, of(2, "victim", "enrich"))
	s.Unpaired = map[string]bool{second.Name: true}
	s.NATSErr = &access.CredentialsError{Reason: v1alpha1.ReasonCredentialsNotForServer}
	if in := decide.Decide(s, ""); in.Workers != nil {
		t.Fatal("not even the first check holds")
	}
	s.NATSErr = nil
	compile(t, s, of(3, "mine", "validate"))
	s.Intake.Former = []intake.Former{{
		Stream: first.Inputs[0].Stream, Durable: first.Inputs[0].Durable, Lanes: 1, Events: 10, Begun: true,
		Consumers: map[string]intake.Lane{first.Inputs[0].Durable: {Have: &jetstream.Consumer{Pending: 10}}},
	}}
	in := decide.Decide(s, "")
	if in.Run != first {
		t.Errorf("the workers are of revision %d, want the first, which they are of", in.Run.Number)
	}
	for _, v := range in.Workers.Deployment.Spec.Template.Spec.Volumes {
		if *v.Name == "nats" {
			for _, source := range v.Projected.Sources {
				if got := *source.Secret.Name; got == "victim" {
					t.Errorf("revision %d (deployed: %d) mounts Secret %s", in.Run.Number, first.Number, got)
				}
			}
		}
	}
	s.Deployment.Annotations = nil // an operator before these noted it
	if in := decide.Decide(s, ""); in.Workers != nil {
		t.Error("workers are made of a revision whose Secret is not for its server")
	}
}

// TestUnknownSecretIsNotMounted: of one that does not exist yet, or that the operator may not read, nobody has said that it is for the server.
func TestUnknownSecretIsNotMounted(t *testing.T) {
	s := snap(t, pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Stages[2].Workers.NATSSecretName = "not-yet-there" }), child("correlate"))
	s.Deployment = mounting("some")
	s.NATSErr = &access.CredentialsError{Message: "workers.natsSecretName: Secret not-yet-there does not exist"}
	if in := decide.Decide(s, ""); in.Workers != nil {
		t.Error("workers get a Secret of which it is not known whether it is for the server")
	}
}

// live decodes into what it is given, as client-go does.
type live struct {
	client.Reader
	stage *v1alpha1.Stage
}

func (l live) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	data, err := json.Marshal(l.stage)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, o)
}

// TestStatusOnTopOfAnother: the Pipeline controller was first; nothing of what this pass found out is lost.
func TestStatusOnTopOfAnother(t *testing.T) {
	s := snap(t, pipeline(nil), child("validate"))
	s.Stage.ResourceVersion = ""
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	theirs := s.Stage.DeepCopy()
	theirs.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_000, 0))}}
	first := true
	base := fake.NewClientBuilder().WithScheme(scheme).WithObjects(theirs).WithStatusSubresource(theirs).Build()
	c := interceptor.NewClient(base, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
		if first {
			first = false
			return apierrors.NewConflict(schema.GroupResource{Resource: "stages"}, o.GetName(), nil)
		}
		return c.SubResource(sub).Patch(ctx, o, p, opts...)
	}})
	applier, err := apply.New(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var have v1alpha1.Stage
	if err := base.Get(t.Context(), client.ObjectKeyFromObject(theirs), &have); err != nil {
		t.Fatal(err)
	}
	s.Stage.ResourceVersion = "1"
	r := &Reconciler{
		Controller: lifecycle.Controller{Recorder: events.NewFakeRecorder(100), Client: c, Applier: applier, Now: time.Now},
		Reader:     live{stage: &have},
	}
	in := decide.Decide(s, "")
	if err := r.writeStatus(t.Context(), s.Stage, s.Stage.DeepCopy(), report{seen: s, intent: in, done: outcome{}}); err != nil {
		t.Fatal(err)
	}
	if err := base.Get(t.Context(), client.ObjectKeyFromObject(theirs), &have); err != nil {
		t.Fatal(err)
	}
	if have.Status.ObservedRevision == "" || have.Status.Kind == "" || have.Status.Selector == "" {
		t.Errorf("after a conflict the status lacks what this pass wrote: %+v", have.Status)
	}
}

// TestRevisionThatNeverRan: workers never started, since a consumer could not be made. Then the manifest is corrected.
func TestRevisionThatNeverRan(t *testing.T) {
	s, before := moved(t)
	first := &decide.Observed{Stage: s.Stage, Scaling: s.Scaling, History: s.History[:1], Newest: before}
	for _, in := range before.Inputs {
		first.Intake.Inputs = append(first.Intake.Inputs, intake.Input{Stream: in.Stream, Durable: in.Durable, Lanes: []intake.Lane{{Want: in.Lanes[0]}}})
	}
	in := decide.Decide(first, "")
	setStatus(&s.Stage.Status, report{seen: first, intent: in, done: outcome{deployment: apply.Unchanged, streamMissing: true}}, time.Unix(1_700_000_000, 0))
	s.Deployment = nil
	s.Intake.Former[0].Begun = false
	if in = decide.Decide(s, ""); in.Run == before {
		t.Errorf("status.revision is %q without any workers; now pods are made of revision 1, which never ran, and read what no worker ever read", s.Stage.Status.Revision)
	}
}

// TestDeletionWithoutHistory: of a Stage whose revisions this release cannot read, or somebody deleted: its workers are there, and have an event left.
func TestDeletionWithoutHistory(t *testing.T) {
	for name, change := range map[string]func(d *deletion){
		"unreadable": func(d *deletion) {
			o := d.revise(readingStream("SHOP_OBS_RAW"))
			o.SetName("newer")
			o.(*appsv1.ControllerRevision).Data.Raw = []byte(`{"format":"millrace.dev/revision/v2"}`)
			if err := d.Client.Create(d.t.Context(), o); err != nil {
				d.t.Fatal(err)
			}
		},
		"deleted": func(d *deletion) {
			if err := d.Client.DeleteAllOf(d.t.Context(), &appsv1.ControllerRevision{}, client.InNamespace("shop")); err != nil {
				d.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			store(t, server)
			d := deleted(t, 0, server.URL(), readingStream("SHOP_OBS_RAW"))
			change(d)
			if d.after(time.Second) {
				t.Errorf("the stage is gone, with an event left that its workers were at work on; Events: %q", d.noted())
			}
		})
	}
}

// TestDrainedInputOfWorkersThatStay: workers read two inputs, and the manifest names neither any more. One is drained, and keeps its consumer for as long as they stay for the other.
func TestDrainedInputOfWorkersThatStay(t *testing.T) {
	s, before := moved(t)
	before.Inputs = append(before.Inputs, revision.Input{Stream: "C", Durable: "c", Lanes: []plan.Consumer{{Stream: "C", Durable: "c"}}})
	s.Intake.Former = append(s.Intake.Former, intake.Former{
		Stream: "C", Durable: "c", Lanes: 1, Begun: true, Consumers: map[string]intake.Lane{"c": {Have: &jetstream.Consumer{}}},
	})
	if in := decide.Decide(s, ""); in.Run == before && len(in.Drop) > 0 {
		t.Errorf("the workers stay on a revision that reads %v, which is deleted", in.Drop)
	}
}

// TestRevisionsOfChainedStage: it has no workers, and so nothing that its revisions wait for.
func TestRevisionsOfChainedStage(t *testing.T) {
	s := snap(t, pipeline(nil), child("enrich"))
	for i := range 20 {
		compile(t, s, pipeline(func(p *v1alpha1.Pipeline) {
			p.Spec.Stages[1].Placement = &v1alpha1.PlacementSpec{With: "validate"}
			p.Spec.Stages[1].Workers = v1alpha1.WorkersSpec{}
			p.Spec.Suspend = i%2 == 0
		}))
	}
	if in := decide.Decide(s, ""); len(in.PruneRevisions) == 0 {
		t.Errorf("none of %d revisions is deleted", len(s.History))
	}
}
