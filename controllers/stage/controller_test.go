package stage

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/lag"
	"millrace.dev/millrace/workers/config"
)

// TestNoPassEndsWithoutStatus: what a pass cannot make workers of is said in the status, and looked at again.
func TestNoPassEndsWithoutStatus(t *testing.T) {
	s, _ := moved(t) // workers have to stay on their revision while NATS cannot be asked for the former input
	data := map[string]string{configKey: "{}", templateKey: "{}"}
	name, err := contentName(s.stage.Name, "", data) // as another release made it: what is missing is not told from the name
	if err != nil {
		t.Fatal(err)
	}
	s.stage.Status.Revision, s.stage.Finalizers = name, []string{v1alpha1.Finalizer}
	owner := metav1.OwnerReference{APIVersion: "millrace.dev/v1alpha1", Kind: "Stage", Name: s.stage.Name, UID: s.stage.UID, Controller: new(true)}
	revision := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, OwnerReferences: []metav1.OwnerReference{owner}}, Data: data}
	r := reconciler(t, s.pipeline, s.stage, revision)

	result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s.stage)})
	if err != nil || result.RequeueAfter == 0 {
		t.Errorf("got %v and %v, want to look again", result, err)
	}
	var got v1alpha1.Stage
	if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(s.stage), &got); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionWorkersAvailable)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonWorkersUnavailable || !strings.Contains(c.Message, "deployment.json of ConfigMap "+name) {
		t.Errorf("got %+v, want what is wrong with the revision", c)
	}
	if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("the stage is not Stalled")
	}
}

// reconciler is one that finds these objects and no NATS server.
func reconciler(t *testing.T, objects ...client.Object) *Reconciler {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme, autoscalingv2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Stage{}).
		WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).
		WithIndex(&corev1.ConfigMap{}, indexOwner, func(o client.Object) []string { return []string{string(metav1.GetControllerOf(o).UID)} }).Build()
	applier, err := apply.New(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	a := access.New(access.Options{Objects: c, Pool: pool, Default: jetstream.Server{URL: "nats://127.0.0.1:1"}})
	set := settings
	set.Backend = scaling.Direct
	return &Reconciler{
		Client: c, Applier: applier, Access: a, Planner: planner, Recorder: events.NewFakeRecorder(100), Meter: &lag.Meter{}, Settings: set,
		Watch: watch.New(a, time.Hour), Now: time.Now, Resync: time.Hour, Fresh: time.Minute,
	}
}
