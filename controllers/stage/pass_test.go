package stage

import (
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/stage/internal/decide"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/pass"
)

// compiledTwice are the revisions of the stage correlate: it reads enrich, and then validate.
func compiledTwice(t *testing.T, stage *v1alpha1.Stage) (first, second client.Object) {
	t.Helper()
	s := &decide.Observed{Stage: stage}
	var objects []client.Object
	for i, from := range []string{"enrich", "validate"} {
		compile(t, s, pipeline(func(p *v1alpha1.Pipeline) { p.Generation, p.Spec.Stages[2].From = int64(i+1), []string{from} }))
		object, err := revision.Object(stage, nil, s.Newest.Number, s.Newest.Content, s.Newest.Marks)
		if err != nil {
			t.Fatal(err)
		}
		object.CreationTimestamp = metav1.Now()
		objects = append(objects, object)
	}
	return objects[0], objects[1]
}

// TestPassesOfALife: a stage that waits for its stream gets consumers and workers, is to read something else, and is deleted.
func TestPassesOfALife(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	js := harness.JetStream(t, server)
	stage := child("correlate")
	first, second := compiledTwice(t, stage)
	r := reconcilerAt(t, server.URL(), pipeline(nil), stage, first)
	recorder := &pass.Recorder{}
	r.Recorder = recorder
	look := func() (reconcile.Result, *v1alpha1.Stage) {
		t.Helper()
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stage)})
		if err != nil {
			t.Fatal(err)
		}
		var live v1alpha1.Stage
		if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(stage), &live); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		return result, &live
	}
	exists := func(o client.Object) bool {
		t.Helper()
		err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(stage), o)
		if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		return err == nil
	}
	consumer := func(stream string) bool {
		t.Helper()
		_, err := js.Consumer(t.Context(), stream, "shop-obs-correlate")
		return err == nil
	}

	if result, _ := look(); result.RequeueAfter != time.Second || exists(&appsv1.Deployment{}) {
		t.Errorf("without its stream: the next pass is after %s; there are workers: %t", result.RequeueAfter, exists(&appsv1.Deployment{}))
	}
	for _, name := range []string{"SHOP_OBS_ENRICH", "SHOP_OBS_VALIDATE"} {
		_, err := js.CreateStream(t.Context(), natsjs.StreamConfig{
			Name: name, Subjects: []string{"events.shop.obs." + strings.ToLower(strings.TrimPrefix(name, "SHOP_OBS_")) + ".>", strings.ToLower(name)},
			Metadata: map[string]string{jetstream.MetadataPipeline: "shop/obs"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), "shop_obs_enrich", nil); err != nil {
		t.Fatal(err)
	}
	look()
	if !consumer("SHOP_OBS_ENRICH") || !exists(&appsv1.Deployment{}) {
		t.Errorf("the consumer exists: %t, the Deployment: %t", consumer("SHOP_OBS_ENRICH"), exists(&appsv1.Deployment{}))
	}

	if err := r.Client.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, live := look(); !consumer("SHOP_OBS_VALIDATE") || live.Status.ObservedRevision != second.GetName() {
		t.Errorf("the consumer of the new input exists: %t; the newest revision is %s", consumer("SHOP_OBS_VALIDATE"), live.Status.ObservedRevision)
	}

	var live v1alpha1.Stage
	if !exists(&live) {
		t.Fatal("the stage is gone")
	}
	live.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"}
	if err := r.Client.Update(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	look()
	if consumer("SHOP_OBS_ENRICH") {
		t.Error("a person said to leave what is stored, and its consumer is there")
	}
	if err := r.Client.Delete(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if exists(&live) || exists(&appsv1.Deployment{}) || consumer("SHOP_OBS_VALIDATE") {
		t.Errorf("after the deletion: the stage exists: %t, the Deployment: %t, the consumer: %t", exists(&live), exists(&appsv1.Deployment{}), consumer("SHOP_OBS_VALIDATE"))
	}
}

// TestDeploymentOfTheName: one of somebody else's is left alone; one whose owner somebody took away is the stage's still.
func TestDeploymentOfTheName(t *testing.T) {
	stage := child("correlate")
	first, _ := compiledTwice(t, stage)
	named := func(change func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-correlate"}}
		change(d)
		return d
	}
	ours := labels.Workers("obs", "correlate", "correlate")
	for name, test := range map[string]struct {
		deployment *appsv1.Deployment
		taken      string
	}{
		"ours": {named(func(d *appsv1.Deployment) {
			d.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(stage, v1alpha1.GroupVersion.WithKind("Stage"))}
		}), ""},
		"ours, and somebody took the owner away": {named(func(d *appsv1.Deployment) { d.Labels = ours }), ""},
		"of another object": {named(func(d *appsv1.Deployment) {
			d.OwnerReferences = []metav1.OwnerReference{{Kind: "Rollout", Name: "x", UID: "x", Controller: new(true)}}
		}), "Rollout x"},
		"of a person": {named(func(*appsv1.Deployment) {}), "nobody that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reconciler(t, stage, pipeline(nil), first, test.deployment)
			s := &snapshot{Observed: &decide.Observed{Stage: stage}}
			if err := r.gatherObjects(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if s.Taken != test.taken || (s.Deployment != nil) != (test.taken == "") {
				t.Errorf("taken by %q, Deployment %v", s.Taken, s.Deployment)
			}
		})
	}
}

// TestSecretsOfEarlierRevisions: what the newest revision has passed is asked of those whose server or Secret is another.
func TestSecretsOfEarlierRevisions(t *testing.T) {
	stage := child("correlate")
	s := &decide.Observed{Stage: stage}
	for i, secret := range []string{"theirs", "gone", "mine", "mine"} {
		compile(t, s, pipeline(func(p *v1alpha1.Pipeline) {
			p.Generation, p.Spec.Stages[2].Workers.NATSSecretName = int64(i+1), secret
			p.Spec.NATS = &v1alpha1.NATSSpec{URL: "nats://nats:4222"}
		}))
	}
	secret := func(name, server string) client.Object {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: map[string]string{v1alpha1.AnnotationNATSURL: server}},
			Data:       map[string][]byte{"nats.creds": []byte("x")},
		}
	}
	r := reconciler(t, secret("mine", "nats://nats:4222"), secret("theirs", "nats://other:4222"))
	if err := r.gatherUnpaired(t.Context(), &snapshot{Observed: s}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, false} {
		if got := s.Unpaired[s.History[i].Name]; got != want {
			t.Errorf("revision %d: its Secret is not for its server: %t, want %t", i+1, got, want)
		}
	}
}

// TestWhatWakesTheStageController: what changes the work to do, and not what it writes itself.
func TestWhatWakesTheStageController(t *testing.T) {
	set := func(kind string) func(client.Object) {
		return func(o client.Object) {
			conditions := []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue}}
			switch o := o.(type) {
			case *v1alpha1.Stage:
				o.Status.Conditions = conditions
			case *v1alpha1.Pipeline:
				o.Status.Conditions = conditions
			}
		}
	}
	leave := func(o client.Object) { o.SetDeletionTimestamp(new(metav1.Now())) }
	annotate := func(o client.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }
	for name, test := range map[string]struct {
		predicate predicate.Predicate
		object    client.Object
		change    func(client.Object)
		want      bool
	}{
		"spec":                     {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.SetGeneration(2) }, true},
		"annotation":               {stageChanged(), &v1alpha1.Stage{}, annotate, true},
		"accepted":                 {stageChanged(), &v1alpha1.Stage{}, set(v1alpha1.ConditionAccepted), true},
		"its own status":           {stageChanged(), &v1alpha1.Stage{}, set(v1alpha1.ConditionReady), false},
		"the streams are ready":    {pipelineChanged(), &v1alpha1.Pipeline{}, set(v1alpha1.ConditionStreamsReady), true},
		"the Pipeline goes":        {pipelineChanged(), &v1alpha1.Pipeline{}, leave, true},
		"the Pipeline is ready":    {pipelineChanged(), &v1alpha1.Pipeline{}, set(v1alpha1.ConditionReady), false},
		"marks of a revision":      {revised(), &appsv1.ControllerRevision{}, annotate, true},
		"labels of a revision":     {revised(), &appsv1.ControllerRevision{}, func(o client.Object) { o.SetLabels(map[string]string{"a": "b"}) }, false},
		"another stage goes":       {leavingChanged(), &v1alpha1.Stage{}, leave, true},
		"another stage is changed": {leavingChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.SetGeneration(2) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := test.object.DeepCopyObject().(client.Object)
			test.change(after)
			if got := test.predicate.Update(event.UpdateEvent{ObjectOld: test.object, ObjectNew: after}); got != test.want {
				t.Errorf("the controller is woken: %t, want %t", got, test.want)
			}
		})
	}
	if leavingChanged().Create(event.CreateEvent{Object: &v1alpha1.Stage{}}) || !leavingChanged().Delete(event.DeleteEvent{Object: &v1alpha1.Stage{}}) {
		t.Error("others are woken by a stage that is made, or not by one that is gone")
	}
	r := reconciler(t, child("enrich"), child("correlate"))
	names := func(requests []reconcile.Request) string {
		var all []string
		for _, request := range requests {
			all = append(all, request.Name)
		}
		return strings.Join(all, " ")
	}
	if got := names(r.stagesOf(t.Context(), pipeline(nil))); got != "obs-correlate obs-enrich" {
		t.Errorf("of the Pipeline: %s", got)
	}
	if got := names(r.siblings(t.Context(), child("enrich"))); got != "obs-correlate" {
		t.Errorf("beside enrich: %s", got)
	}
	if r.siblings(t.Context(), pipeline(nil)) != nil {
		t.Error("a Pipeline is taken for a Stage")
	}
}
