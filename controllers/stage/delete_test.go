package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// deletion is a stage with a worker that is being deleted, and the operator that looks after it.
type deletion struct {
	*Reconciler
	t        *testing.T
	stage    *v1alpha1.Stage
	worker   *appsv1.Deployment
	recorder *events.FakeRecorder
	now      time.Time
	// revisions counts them.
	revisions int64
}

// readingStream is a revision that reads a stream with the consumer of the stage.
func readingStream(stream string) revision.Content {
	return revision.Content{
		Format: "millrace.dev/revision/v1", Lanes: 1, ConfigMap: "config-" + strings.ToLower(stream),
		Inputs: []revision.Input{{From: "ingress", Stream: stream, Durable: "shop-obs-validate", Lanes: []plan.Consumer{{
			Stream: stream, Durable: "shop-obs-validate",
		}}}},
	}
}

// revise is the ControllerRevision of a content, which the worker is of.
func (d *deletion) revise(c revision.Content) client.Object {
	d.t.Helper()
	d.revisions++
	object, err := revision.Object(d.stage, nil, d.revisions, c, revision.Marks{})
	if err != nil {
		d.t.Fatal(err)
	}
	d.worker.Spec.Template = mounting(c.ConfigMap).Spec.Template
	return object
}

// deleted is a deletion that began so long ago, of a stage with these revisions, the first of which its worker is of; its consumers are
// at the given server.
func deleted(t *testing.T, ago time.Duration, server string, revisions ...revision.Content) *deletion {
	t.Helper()
	d := &deletion{t: t, now: time.Now().Truncate(time.Second), recorder: events.NewFakeRecorder(100)}
	d.stage = child("validate")
	d.stage.Spec.From = []string{"ingress"}
	d.stage.Finalizers = []string{v1alpha1.Finalizer}
	d.stage.DeletionTimestamp = new(metav1.NewTime(d.now.Add(-ago)))
	d.stage.Status.Lag = new(int64(3))
	d.stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_RAW", Name: "shop-obs-validate", Lanes: 1}}
	d.worker = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-validate", UID: "worker-uid", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "millrace.dev/v1alpha1", Kind: "Stage", Name: "obs-validate", UID: d.stage.UID, Controller: new(true),
		}}},
		Spec: appsv1.DeploymentSpec{Replicas: new(int32(1))},
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := []client.Object{pipeline(nil), d.stage, d.worker}
	for _, r := range revisions {
		objects = append(objects, d.revise(r))
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(d.stage).
		WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).
		WithIndex(&appsv1.ControllerRevision{}, revision.IndexOwner, revision.IndexedOwner).Build()
	clock := func() time.Time { return d.now }
	applier, err := apply.New(c, clock)
	if err != nil {
		t.Fatal(err)
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	d.Reconciler = &Reconciler{
		Controller: lifecycle.Controller{
			Client: c, Applier: applier, Recorder: d.recorder, Now: clock, CleanupTimeout: time.Minute,
			Access: access.New(access.Options{Objects: c, Pool: pool, Default: jetstream.Server{URL: server}}),
		},
		DrainTimeout: 10 * time.Minute,
	}
	return d
}

// after lets some time pass, and the operator look; gone says that the deletion is then through.
func (d *deletion) after(wait time.Duration) (gone bool) {
	d.t.Helper()
	d.now = d.now.Add(wait)
	var live v1alpha1.Stage
	if _, err := d.Reconcile(d.t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(d.stage)}); err != nil {
		d.t.Fatal(err)
	}
	worker := d.Client.Get(d.t.Context(), client.ObjectKeyFromObject(d.worker), &appsv1.Deployment{})
	err := d.Client.Get(d.t.Context(), client.ObjectKeyFromObject(d.stage), &live)
	if apierrors.IsNotFound(worker) != apierrors.IsNotFound(err) {
		d.t.Errorf("the worker: %v; the stage: %v; want both or none", worker, err)
	}
	return apierrors.IsNotFound(err)
}

// noted are the Events so far.
func (d *deletion) noted() string {
	var all []string
	for len(d.recorder.Events) > 0 {
		all = append(all, <-d.recorder.Events)
	}
	return strings.Join(all, "\n")
}

// TestDeletionIsGivenUpAMinuteAfterTheFirstFailure: however long ago it began.
func TestDeletionIsGivenUpAMinuteAfterTheFirstFailure(t *testing.T) {
	const nobody = "nats://127.0.0.1:1"
	for name, ago := range map[string]time.Duration{
		"just now": 0, "before the operator began": 2 * time.Minute, "longer ago than a drain may take": time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			d := deleted(t, ago, nobody, readingStream("SHOP_OBS_RAW"))
			for _, wait := range []time.Duration{0, 30 * time.Second, 29 * time.Second} {
				if d.after(wait) {
					t.Fatalf("given up too early: %s", d.noted())
				}
			}
			if !d.after(time.Second) {
				t.Error("not given up a minute after the first failure")
			}
			noted := d.noted()
			for _, want := range []string{
				"Warning EventsLeft gave up, since NATS could not be asked for 1m0s", "about 3 events were left",
				"Warning Retained", "consumers were left behind (shop-obs-validate of stream SHOP_OBS_RAW)",
			} {
				if !strings.Contains(noted, want) {
					t.Errorf("no Event says %q:\n%s", want, noted)
				}
			}
		})
	}
}

// store makes the input of the stage, with an event that it has not processed.
func store(t *testing.T, server *natsserver.Embedded) {
	t.Helper()
	js := harness.JetStream(t, server)
	stream, err := js.CreateStream(t.Context(), natsjs.StreamConfig{
		Name: "SHOP_OBS_RAW", Subjects: []string{"raw.>"}, Metadata: map[string]string{jetstream.MetadataPipeline: "shop/obs"},
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), natsjs.ConsumerConfig{
		Durable: "shop-obs-validate", AckPolicy: natsjs.AckAllPolicy,
		Metadata: map[string]string{jetstream.MetadataPipeline: "shop/obs", jetstream.MetadataStage: "validate"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "raw.a", nil); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 5*time.Second, func() error { // the server tells its consumers of a message after it has confirmed it
		if info, err := consumer.Info(t.Context()); err != nil || info.NumPending != 1 {
			return fmt.Errorf("the consumer does not know of the event: %v", err)
		}
		return nil
	})
}

// TestDrainDoesNotWaitForNobody: what the workers that there are do not read will not be processed, and is told at once.
func TestDrainDoesNotWaitForNobody(t *testing.T) {
	for name, test := range map[string]struct {
		worker string
		want   bool
	}{
		"they read it":             {"config-shop_obs_raw", false},
		"they read something else": {"config-other", true},
		"it is not known":          {"config-unknown", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			store(t, server)
			d := deleted(t, 0, server.URL(), readingStream("OTHER"), readingStream("SHOP_OBS_RAW"))
			d.worker.Spec.Template = mounting(test.worker).Spec.Template
			if err := d.Client.Update(t.Context(), d.worker); err != nil {
				t.Fatal(err)
			}
			if got := d.after(time.Second); got != test.want {
				t.Errorf("the stage is gone: %t, want %t", got, test.want)
			}
			const says = "Warning EventsLeft no worker reads SHOP_OBS_RAW, where about 1 events are left"
			if noted := d.noted(); strings.Contains(noted, says) != test.want {
				t.Errorf("an Event says %q: %t, want %t:\n%s", says, !test.want, test.want, noted)
			}
		})
	}
}

// TestDrainOutlivesAFailure: a server that does not answer for a moment, long after the deletion, does not end a drain.
func TestDrainOutlivesAFailure(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	d := deleted(t, 0, server.URL(), readingStream("SHOP_OBS_RAW"))
	store(t, server)
	if d.after(0) || d.after(3*time.Minute) {
		t.Fatalf("the stage is gone, with an event left: %s", d.noted())
	}
	server.Stop()
	if d.after(time.Minute) || d.after(59*time.Second) {
		t.Fatalf("given up before NATS had not answered for a minute: %s", d.noted())
	}
	if !d.after(time.Second) {
		t.Error("not given up a minute after the first failure")
	}
	if noted := d.noted(); !strings.Contains(noted, "when it was asked last, the workers go on with what was stored in SHOP_OBS_RAW before the change: about 1 events are left") {
		t.Errorf("no Event says what was left:\n%s", noted)
	}
}

// TestConsumersOutliveTheWorkers: the pods of a deleted Deployment finish what they have in hand, and need their consumers for that. Pods that do
// not end, as those of a node that is down, are not waited for longer than they may take.
func TestConsumersOutliveTheWorkers(t *testing.T) {
	for name, test := range map[string]struct {
		ago  time.Duration
		want bool // the consumer is there still
	}{
		"while pods may end":     {39 * time.Second, true},
		"when they had the time": {41 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			store(t, server)
			d := deleted(t, time.Hour, server.URL(), readingStream("SHOP_OBS_RAW"))
			d.worker.Finalizers = []string{metav1.FinalizerDeleteDependents}
			d.worker.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(10))
			if err := d.Client.Update(t.Context(), d.worker); err != nil {
				t.Fatal(err)
			}
			if err := d.Client.Delete(t.Context(), d.worker); err != nil {
				t.Fatal(err)
			}
			d.DrainTimeout = time.Minute // it is over
			var worker appsv1.Deployment
			if err := d.Client.Get(t.Context(), client.ObjectKeyFromObject(d.worker), &worker); err != nil {
				t.Fatal(err)
			}
			d.now = worker.DeletionTimestamp.Add(test.ago)
			if _, err := d.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(d.stage)}); err != nil {
				t.Fatal(err)
			}
			stream, err := harness.JetStream(t, server).Stream(t.Context(), "SHOP_OBS_RAW")
			if err != nil {
				t.Fatal(err)
			}
			if _, err = stream.Consumer(t.Context(), "shop-obs-validate"); (err == nil) != test.want {
				t.Errorf("got %v, want the consumer: %t", err, test.want)
			}
		})
	}
}
