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
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/lag"
)

// TestNoPassEndsWithoutStatus: what a pass cannot make workers of is said in the status, and looked at again.
func TestNoPassEndsWithoutStatus(t *testing.T) {
	stage := child("correlate")
	stage.Finalizers = []string{v1alpha1.Finalizer}
	for name, test := range map[string]struct{ data, says string }{
		"no template":       {`{"format":"millrace.dev/revision/v1","lanes":1,"config":{},"configMap":"c","deployment":{}}`, "has no template"},
		"another format":    {`{"format":"millrace.dev/revision/v9"}`, "run the release that wrote it"},
		"no content at all": {`{}`, `has the format ""`},
	} {
		t.Run(name, func(t *testing.T) {
			r := reconciler(t, stage, &appsv1.ControllerRevision{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "obs-correlate-1",
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(stage, v1alpha1.GroupVersion.WithKind("Stage"))},
				},
				Data: runtime.RawExtension{Raw: []byte(test.data)}, Revision: 1,
			})
			result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stage)})
			if err != nil || result.RequeueAfter == 0 {
				t.Errorf("got %v and %v, want to look again", result, err)
			}
			var got v1alpha1.Stage
			if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(stage), &got); err != nil {
				t.Fatal(err)
			}
			c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionWorkersAvailable)
			if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonWorkersUnavailable ||
				!strings.Contains(c.Message, test.says) || !strings.Contains(c.Message, "obs-correlate-1") {
				t.Errorf("got %+v, want what is wrong with the revision", c)
			}
			if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Error("the stage is not Stalled")
			}
		})
	}
}

// reconciler is one that finds these objects and no NATS server.
func reconciler(t *testing.T, objects ...client.Object) *Reconciler {
	t.Helper()
	return reconcilerAt(t, "nats://127.0.0.1:1", objects...)
}

// reconcilerAt is one that finds these objects and a NATS server.
func reconcilerAt(t *testing.T, url string, objects ...client.Object) *Reconciler {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme, autoscalingv2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Stage{}).
		WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).
		WithIndex(&corev1.ConfigMap{}, revision.IndexOwner, revision.IndexedOwner).
		WithIndex(&appsv1.ControllerRevision{}, revision.IndexOwner, revision.IndexedOwner).Build()
	applier, err := apply.New(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	a := access.New(access.Options{Objects: c, Pool: pool, Default: jetstream.Server{URL: url}})
	return &Reconciler{
		Controller: lifecycle.Controller{
			Client: c, Applier: applier, Access: a, Recorder: events.NewFakeRecorder(100),
			Watch: watch.New(a, time.Hour), Now: time.Now, Resync: time.Hour, Fresh: time.Minute,
		},
		Reader: c, Autoscaler: &autoscale.Autoscaler{Client: c, Reader: c, Applier: applier, Backend: autoscale.Direct{}, Meter: &lag.Meter{}},
	}
}
