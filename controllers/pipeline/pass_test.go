package pipeline

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/pass"
	"millrace.dev/millrace/workers/config"
)

// operator is a Pipeline controller with a NATS server, whose API server may be made to fail.
type operator struct {
	*Reconciler
	t    *testing.T
	nats natsjs.JetStream
	// fails answers for the API server; nil = it does what it is asked for.
	fails func(verb string, o runtime.Object) error
}

func start(t *testing.T, objects ...client.Object) *operator {
	t.Helper()
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	x := &operator{t: t, nats: harness.JetStream(t, server)}
	said := func(verb string, o runtime.Object) error {
		if x.fails == nil {
			return nil
		}
		return x.fails(verb, o)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Pipeline{}, &v1alpha1.Stage{}).
		WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).
		WithIndex(&appsv1.ControllerRevision{}, revision.IndexOwner, revision.IndexedOwner).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := said("create", o); err != nil {
					return err
				}
				return c.Create(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := said("delete", o); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
				if err := said("list", l); err != nil {
					return err
				}
				return c.List(ctx, l, opts...)
			},
		}).Build()
	applier, err := apply.New(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	defaults := jetstream.Server{URL: server.URL()}
	a := access.New(access.Options{Objects: c, Pool: pool, Default: defaults})
	planner, err := graph.NewPlanner(config.NATS{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	x.Reconciler = &Reconciler{
		Controller: lifecycle.Controller{
			Kind: watch.Pipeline, Client: c, Applier: applier, Access: a, Recorder: &pass.Recorder{},
			Watch: watch.New(a, time.Hour), Now: time.Now, Resync: time.Hour, Fresh: time.Minute, CleanupTimeout: time.Minute,
		},
		Planner: planner, Durability: &durability.Checker{Now: time.Now}, Settings: settings,
	}
	return x
}

// look reconciles the pipeline once.
func (x *operator) look() (reconcile.Result, error) {
	x.t.Helper()
	return x.Reconcile(x.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "obs"}})
}

// looks reconciles it a few times, as the changes of its own objects have it.
func (x *operator) looks() *v1alpha1.Pipeline {
	x.t.Helper()
	for range 4 {
		if _, err := x.look(); err != nil {
			x.t.Fatal(err)
		}
	}
	var p v1alpha1.Pipeline
	if err := x.Client.Get(x.t.Context(), types.NamespacedName{Namespace: "shop", Name: "obs"}, &p); err != nil {
		x.t.Fatal(err)
	}
	return &p
}

func (x *operator) streams() []string {
	x.t.Helper()
	var names []string
	for name := range x.nats.StreamNames(x.t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (x *operator) stages() (names []string) {
	x.t.Helper()
	var list v1alpha1.StageList
	if err := x.Client.List(x.t.Context(), &list); err != nil {
		x.t.Fatal(err)
	}
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	return names
}

// released lets go of the Stages that are being deleted, as the Stage controller does.
func (x *operator) released() {
	x.t.Helper()
	var list v1alpha1.StageList
	if err := x.Client.List(x.t.Context(), &list); err != nil {
		x.t.Fatal(err)
	}
	for _, s := range list.Items {
		if s.DeletionTimestamp.IsZero() {
			continue
		}
		if err := apply.RemoveFinalizer(x.t.Context(), x.Client, &s); err != nil {
			x.t.Fatal(err)
		}
	}
}

// TestPassesOfALife: a pipeline is made, loses an entry, and is deleted with its streams.
func TestPassesOfALife(t *testing.T) {
	spec := fresh(t).Pipeline
	spec.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	attached := &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive", UID: "archive-uid", Generation: 1},
		Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{From: []string{"validate"}, Validate: &v1alpha1.ValidateSpec{}}},
	}
	x := start(t, spec, attached, new(child("validate")), new(child("correlate")))
	p := x.looks()
	if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStreamsReady) || len(x.streams()) != len(p.Status.Streams) {
		t.Errorf("streams %v, status %+v", x.streams(), p.Status)
	}
	var revisions appsv1.ControllerRevisionList
	if err := x.Client.List(t.Context(), &revisions); err != nil || len(revisions.Items) != 3 {
		t.Errorf("got %d revisions and %v, want one for each of 3 stages", len(revisions.Items), err)
	}
	var stage v1alpha1.Stage
	if err := x.Client.Get(t.Context(), client.ObjectKeyFromObject(attached), &stage); err != nil || !meta.IsStatusConditionTrue(stage.Status.Conditions, v1alpha1.ConditionAccepted) {
		t.Errorf("the attached stage: %v, %+v", err, stage.Status.Conditions)
	}

	p.Spec.Stages = p.Spec.Stages[:1]
	p.Generation++
	if err := x.Client.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	x.looks()
	x.released()
	if got := strings.Join(x.stages(), " "); got != "archive obs-validate" {
		t.Errorf("after an entry was taken out there are %s", got)
	}

	if err := x.Client.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := x.look(); err != nil {
			t.Fatal(err)
		}
		x.released()
	}
	if err := x.Client.Get(t.Context(), client.ObjectKeyFromObject(p), p); !apierrors.IsNotFound(err) {
		t.Errorf("the Pipeline is there: %v", err)
	}
	for _, name := range x.streams() {
		if name == raw {
			t.Errorf("its streams are there: %v", x.streams())
		}
	}
	if err := x.Client.Get(t.Context(), client.ObjectKeyFromObject(attached), &stage); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionAccepted); c == nil || c.Reason != v1alpha1.ReasonPipelineNotFound {
		t.Errorf("the attached stage says %+v", c)
	}
}

// TestDeadLettersAreReadOnce: the newest dead letter is in the status; a further look does not read it again.
func TestDeadLettersAreReadOnce(t *testing.T) {
	x := start(t, fresh(t).Pipeline)
	x.looks()
	const letters = "SHOP_OBS_DEAD_LETTERS"
	stream, err := x.nats.Stream(t.Context(), letters)
	if err != nil {
		t.Fatalf("%v: %v", x.streams(), err)
	}
	subject := strings.TrimSuffix(stream.CachedInfo().Config.Subjects[0], ">") + "validate"
	if _, err := x.nats.Publish(t.Context(), subject, []byte("x")); err != nil {
		t.Fatal(err)
	}
	first := x.looks().Status.DeadLetters
	if first == nil || first.Events != 1 || first.Last == nil || first.Last.Sequence != 1 {
		t.Errorf("got %+v", first)
	}
}

// TestPassMeetsTheAPIServer: an answer that may pass ends the pass with an error, so that it is repeated; one that does not is in the status.
func TestPassMeetsTheAPIServer(t *testing.T) {
	busy, policy := apierrors.NewTimeoutError("busy", 1), apierrors.NewForbidden(stages, "x", nil)
	revisions := func(verb string, err error) func(string, runtime.Object) error {
		return func(did string, o runtime.Object) error {
			switch o.(type) {
			case *appsv1.ControllerRevision, *appsv1.ControllerRevisionList:
				if did == verb {
					return err
				}
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		fails  func(string, runtime.Object) error
		failed bool
		reason string
	}{
		"revisions cannot be listed":        {revisions("list", busy), true, v1alpha1.ReasonProgressing}, // there were no Stages yet
		"a revision cannot be written":      {revisions("create", busy), true, v1alpha1.ReasonStagesNotReady},
		"a policy is against the revisions": {revisions("create", policy), false, v1alpha1.ReasonObjectRefused},
		"the Stages cannot be listed": {func(verb string, o runtime.Object) error {
			if _, ok := o.(*v1alpha1.StageList); ok {
				return busy
			}
			return nil
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := start(t, fresh(t).Pipeline)
			x.fails = test.fails
			failed := false
			for range 3 {
				_, err := x.look()
				failed = failed || err != nil
			}
			if failed != test.failed {
				t.Errorf("a pass ends with an error: %t, want %t", failed, test.failed)
			}
			var p v1alpha1.Pipeline
			if err := x.Client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "obs"}, &p); err != nil {
				t.Fatal(err)
			}
			reason := ""
			if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionStagesReady); c != nil {
				reason = c.Reason
			}
			if reason != test.reason {
				t.Errorf("StagesReady says %q, want %q", reason, test.reason)
			}
			x.fails = nil
			if c := meta.FindStatusCondition(x.looks().Status.Conditions, v1alpha1.ConditionStagesReady); c.Reason != v1alpha1.ReasonProgressing {
				t.Errorf("afterwards StagesReady says %+v", c)
			}
		})
	}
}

// TestChildThatCannotBeDeleted: a Stage whose entry is gone stays until the API server lets it go, and the pass is repeated.
func TestChildThatCannotBeDeleted(t *testing.T) {
	x := start(t, fresh(t).Pipeline)
	p := x.looks()
	p.Spec.Stages = p.Spec.Stages[:1]
	if err := x.Client.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	x.fails = func(verb string, _ runtime.Object) error {
		if verb == "delete" {
			return apierrors.NewTimeoutError("busy", 1)
		}
		return nil
	}
	if _, err := x.look(); err == nil {
		t.Error("the pass is not repeated")
	}
	if len(x.stages()) != 2 {
		t.Errorf("got %v", x.stages())
	}
}

// TestStageOfTheNameIsTaken: a Stage that somebody attached has the name of a child, and is left alone.
func TestStageOfTheNameIsTaken(t *testing.T) {
	x := start(t, fresh(t).Pipeline, &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-validate", UID: "theirs"},
		Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "other"}},
	})
	c := meta.FindStatusCondition(x.looks().Status.Conditions, v1alpha1.ConditionStagesReady)
	if c.Reason != v1alpha1.ReasonNotOwned || !strings.Contains(c.Message, "belongs to pipeline other") {
		t.Errorf("got %+v", c)
	}
}

// TestWorkersOfAnEarlierRelease: what they run by is read where a Stage has no revision, and from its own objects alone.
func TestWorkersOfAnEarlierRelease(t *testing.T) {
	stage := child("validate")
	owned := func(o client.Object) client.Object {
		o.SetNamespace("shop")
		o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(&stage, v1alpha1.GroupVersion.WithKind("Stage"))})
		return o
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "obs-validate"}}
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}},
	}}}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{revision.ConfigKey: `{"lanes":1}`}}
	for name, test := range map[string]struct {
		objects []client.Object
		want    bool
	}{
		"both are the stage's":         {[]client.Object{owned(d.DeepCopy()), owned(config.DeepCopy())}, true},
		"the Deployment is not":        {[]client.Object{&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-validate"}, Spec: d.Spec}, owned(config.DeepCopy())}, false},
		"the ConfigMap does not exist": {[]client.Object{owned(d.DeepCopy())}, false},
		"there are no workers":         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := start(t, append(test.objects, &stage)...)
			s := &snapshot{Observed: fresh(t).Observed}
			s.Stages = graph.Stages{Children: []v1alpha1.Stage{stage}}
			running, err := x.gatherRunning(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if run := running["obs-validate"]; (run.ConfigMap != nil) != test.want || (run.Deployment != nil) != test.want {
				t.Errorf("got %+v", run)
			}
		})
	}
}

// TestWhatWakesThePipelineController: what changes the work to do, and not what it writes itself.
func TestWhatWakesThePipelineController(t *testing.T) {
	annotated := func(o client.Object) { o.SetAnnotations(map[string]string{v1alpha1.AnnotationRestart: "now"}) }
	ready := func(s *v1alpha1.Stage) { says(s, metav1.ConditionTrue, v1alpha1.ReasonReady) }
	progress := func(o client.Object) { says(o.(*v1alpha1.Stage), metav1.ConditionFalse, v1alpha1.ReasonProgressing) }
	readyStage := func() *v1alpha1.Stage {
		stage := new(v1alpha1.Stage)
		ready(stage)
		return stage
	}
	for name, test := range map[string]struct {
		predicate predicate.Predicate
		object    client.Object
		change    func(client.Object)
		want      bool
	}{
		"spec":               {specChanged(), &v1alpha1.Pipeline{}, func(o client.Object) { o.SetGeneration(2) }, true},
		"restart":            {specChanged(), &v1alpha1.Pipeline{}, annotated, true},
		"another annotation": {specChanged(), &v1alpha1.Pipeline{}, func(o client.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, false},
		"status":             {specChanged(), &v1alpha1.Pipeline{}, func(o client.Object) { o.(*v1alpha1.Pipeline).Status.Stages = "1/1" }, false},
		"stage: spec":        {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.SetGeneration(2) }, true},
		"stage: labels":      {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.SetLabels(map[string]string{"a": "b"}) }, true},
		"stage: owner":       {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.SetOwnerReferences([]metav1.OwnerReference{{Name: "x"}}) }, true},
		"stage: ready":       {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { ready(o.(*v1alpha1.Stage)) }, true},
		"stage: revision":    {stageChanged(), readyStage(), func(o client.Object) { o.(*v1alpha1.Stage).Status.ObservedRevision = "r" }, true},
		"stage: progress":    {stageChanged(), &v1alpha1.Stage{}, progress, false},
		"stage: progressed":  {stageProgressed(), &v1alpha1.Stage{}, progress, true},
		"stage: came to it":  {stageProgressed(), &v1alpha1.Stage{}, func(o client.Object) { ready(o.(*v1alpha1.Stage)) }, false},
		"stage: rolled out":  {stageChanged(), readyStage(), progress, true},
		"stage: restart":     {stageChanged(), &v1alpha1.Stage{}, annotated, true},
		"stage: lag":         {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.(*v1alpha1.Stage).Status.Lag = new(int64(3)) }, true},
		"stage: no lag":      {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.(*v1alpha1.Stage).Status.Lag = new(int64(0)) }, false},
		"stage: duplicates":  {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.(*v1alpha1.Stage).Status.Duplicates = &v1alpha1.DuplicatesStatus{Events: 1} }, true},
		"stage: workers":     {stageChanged(), &v1alpha1.Stage{}, func(o client.Object) { o.(*v1alpha1.Stage).Status.ReadyWorkers = 2 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := test.object.DeepCopyObject().(client.Object)
			test.change(after)
			if got := test.predicate.Update(event.UpdateEvent{ObjectOld: test.object, ObjectNew: after}); got != test.want {
				t.Errorf("the controller is woken: %t, want %t", got, test.want)
			}
		})
	}
	stage := child("validate")
	made := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{v1alpha1.LabelPipeline: "obs"}}}
	for _, got := range [][]reconcile.Request{pipelineOf(t.Context(), &stage), labelledPipeline(t.Context(), made)} {
		if len(got) != 1 || got[0].String() != "shop/obs" {
			t.Errorf("got %v", got)
		}
	}
	if got := pipelineOf(t.Context(), made); got != nil {
		t.Errorf("a ControllerRevision is taken for a Stage: %v", got)
	}
}
