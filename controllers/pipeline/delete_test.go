package pipeline

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	"millrace.dev/millrace/controllers/internal/lifecycle"
)

// TestDeletionIsGivenUpAMinuteAfterTheFirstFailure: however long the stages took before.
func TestDeletionIsGivenUpAMinuteAfterTheFirstFailure(t *testing.T) {
	for name, ago := range map[string]time.Duration{"just now": 0, "long ago": time.Hour} {
		t.Run(name, func(t *testing.T) {
			now := time.Now().Truncate(time.Second)
			p := &v1alpha1.Pipeline{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "obs", UID: "pipeline-uid",
					Finalizers: []string{v1alpha1.Finalizer}, DeletionTimestamp: new(metav1.NewTime(now.Add(-ago))),
				},
				Spec: v1alpha1.PipelineSpec{DeletionPolicy: v1alpha1.DeletionDelete},
			}
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(p).
				WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).Build()
			pool := jetstream.NewPool(jetstream.PoolOptions{})
			t.Cleanup(pool.Close)
			recorder := events.NewFakeRecorder(100)
			clock := func() time.Time { return now }
			applier, err := apply.New(c, clock)
			if err != nil {
				t.Fatal(err)
			}
			r := &Reconciler{Controller: lifecycle.Controller{
				Client: c, Applier: applier, Recorder: recorder, Now: clock, CleanupTimeout: time.Minute,
				Access: access.New(access.Options{Objects: c, Pool: pool, Default: jetstream.Server{URL: "nats://127.0.0.1:1"}}),
			}}
			after := func(wait time.Duration) (gone bool) {
				t.Helper()
				now = now.Add(wait)
				var live v1alpha1.Pipeline
				if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)}); err != nil {
					t.Fatal(err)
				}
				return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(p), &live))
			}
			if after(0) || after(59*time.Second) {
				t.Fatal("given up too early")
			}
			if !after(time.Second) {
				t.Error("not given up a minute after the first failure")
			}
			var last string
			for len(recorder.Events) > 0 {
				last = <-recorder.Events
			}
			if !strings.Contains(last, "Warning Retained") || !strings.Contains(last, "streams of pipeline shop/obs were left behind") {
				t.Errorf("got Event %q, want what was left behind", last)
			}
		})
	}
}
