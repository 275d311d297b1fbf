package lag

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

// scaled is the Stage validate of pipeline obs, which may have eight workers.
var scaled = types.NamespacedName{Namespace: "shop", Name: "obs-validate"}

// node is what the manifest says of it.
func node() v1alpha1.StageNode {
	return v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{}, Workers: v1alpha1.WorkersSpec{Max: 8}}
}

func obs() *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs", UID: "pipeline-uid", Generation: 1},
		Spec:       v1alpha1.PipelineSpec{Stages: []v1alpha1.PipelineStage{{Name: "validate", StageNode: node()}}},
	}
}

// gauge is a Meter of pipeline obs, with a clock that the test turns.
type gauge struct {
	*Meter
	t   *testing.T
	now time.Time
	// objects of the cluster.
	objects client.Client
}

// meterAt measures at a server, which may not be there.
func meterAt(t *testing.T, server string) *gauge {
	t.Helper()
	child := &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: scaled.Namespace, Name: scaled.Name, UID: "stage-uid", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
		}}},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: "validate", StageNode: node()},
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(obs(), child, compiled(t, child)).WithStatusSubresource(child).
		WithIndex(&v1alpha1.Stage{}, graph.IndexPipeline, graph.IndexedPipeline).
		WithIndex(&appsv1.ControllerRevision{}, revision.IndexOwner, revision.IndexedOwner).Build()
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	g := &gauge{t: t, now: time.Now(), objects: objects}
	g.Meter = &Meter{
		Client: objects, Now: func() time.Time { return g.now }, Every: 2 * time.Second, Down: time.Minute,
		Sets:   func(int32, int32) bool { return false },
		Access: access.New(access.Options{Objects: objects, Pool: pool, Default: jetstream.Server{URL: server}}),
	}
	return g
}

// resolve plans a pipeline.
func resolve(t *testing.T, p *v1alpha1.Pipeline) graph.Resolved {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	resolved := planner.Resolve(p, nil, nil)
	if len(resolved.Errors) > 0 {
		t.Fatal(resolved.Errors.ToAggregate())
	}
	return resolved
}

// compiled is the revision of a child of pipeline obs.
func compiled(t *testing.T, child *v1alpha1.Stage) *appsv1.ControllerRevision {
	t.Helper()
	p := obs()
	resolved := resolve(t, p)
	made, marks, err := revision.Compile(revision.Source{
		Pipeline: p, Stage: child, Spec: node(), Node: resolved.Node(child), Leases: resolved.Plan.Leases,
	}, revision.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	object, err := revision.Object(child, nil, 1, made, marks)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// provide makes the streams and consumers that a pipeline calls for.
func provide(t *testing.T, server *natsserver.Embedded, p *v1alpha1.Pipeline) natsjs.JetStream {
	t.Helper()
	js := harness.JetStream(t, server)
	resolved := resolve(t, p)
	stream, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: resolved.Plan.Ingress.Name, Subjects: resolved.Plan.Ingress.Subjects})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range resolved.Plan.Stages[0].Consumers {
		if _, err := stream.CreateConsumer(t.Context(), natsjs.ConsumerConfig{Durable: c.Durable, AckPolicy: natsjs.AckAllPolicy}); err != nil {
			t.Fatal(err)
		}
	}
	return js
}

// read asks as an autoscaler does.
func (g *gauge) read() ([]Reading, error) {
	g.t.Helper()
	g.now = g.now.Add(5 * time.Second)
	return g.Read(g.t.Context(), "shop", k8slabels.SelectorFromSet(k8slabels.Set{
		v1alpha1.LabelPipeline: "obs", v1alpha1.LabelStage: "validate",
	}))
}

// TestRefusedNamesakeIsLeftOut: an attached Stage that does not fit, since its name is taken, has the labels of the
// stage that has it.
func TestRefusedNamesakeIsLeftOut(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	g := meterAt(t, server.URL())
	provide(t, server, obs())
	want, err := g.read()
	if err != nil || len(want) != 1 {
		t.Fatalf("got %d readings and %v, want one", len(want), err)
	}
	namesake := &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "validate", UID: "namesake"},
		Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: node()},
	}
	if err := g.objects.Create(t.Context(), namesake); err != nil {
		t.Fatal(err)
	}
	got, err := g.read()
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d readings and %v, want one", len(got), err)
	}
	if diff := cmp.Diff(want[0].Labels, got[0].Labels); diff != "" {
		t.Error(diff)
	}
}

// stuck is a client that does not list what belongs to one object before ctx ends, as when its server does not answer.
type stuck struct {
	client.Reader
	owner types.UID
}

func (s stuck) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	if _, ok := list.(*appsv1.ControllerRevisionList); ok && o.ApplyOptions(opts).FieldSelector.Matches(fields.Set{revision.IndexOwner: string(s.owner)}) {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Reader.List(ctx, list, opts...)
}

// TestMeasurementThatHangsDelaysNoOther: the stages of other pipelines go on being measured.
func TestMeasurementThatHangsDelaysNoOther(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	g := meterAt(t, server.URL())
	provide(t, server, obs())
	for i := range 20 {
		hangs := &v1alpha1.Stage{
			ObjectMeta: metav1.ObjectMeta{Namespace: scaled.Namespace, Name: fmt.Sprintf("hangs-%d", i), UID: "hangs"},
			Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "hangs"}, Name: fmt.Sprintf("s%d", i), StageNode: node()},
		}
		if err := g.objects.Create(t.Context(), hangs); err != nil {
			t.Fatal(err)
		}
	}
	g.Client, g.Now, g.Every = stuck{g.objects, "hangs"}, time.Now, 50*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Start(ctx) }()
	at := map[time.Time]bool{}
	for deadline := time.Now().Add(5 * time.Second); len(at) < 5 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if r, ok := g.Latest(scaled); ok {
			at[r.At] = true
		}
	}
	if len(at) < 5 {
		t.Errorf("got %d measurements while others hang, want them to go on", len(at))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestUnmeasurableStageIsNotForgotten: that its lag is not known stays known, for as long as it is so.
func TestUnmeasurableStageIsNotForgotten(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	g := meterAt(t, server.URL())
	unknown := func(when string) {
		t.Helper()
		if r, ok := g.Latest(scaled); !ok || r.Err == nil {
			t.Errorf("%s: got a reading %t with error %v, want the reason why there is none", when, ok, r.Err)
		}
	}
	round := func(after time.Duration) {
		g.now = g.now.Add(after)
		g.round(t.Context())
		if err := g.measuring.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	round(0)
	unknown("without consumers")

	provide(t, server, obs())
	round(2 * time.Second)
	if r, ok := g.Latest(scaled); !ok || r.Err != nil {
		t.Fatalf("got a reading %t with error %v, want one", ok, r.Err)
	}
	server.Stop()
	for range 4 {
		round(4 * time.Minute)
		unknown("without a server")
	}

	stage := &v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: scaled.Namespace, Name: scaled.Name}}
	if err := g.objects.Delete(t.Context(), stage); err != nil {
		t.Fatal(err)
	}
	round(9 * time.Minute)
	unknown("of a stage that is gone, for a while")
	round(2 * time.Minute)
	if _, ok := g.Latest(scaled); ok {
		t.Error("a stage that is gone is still known")
	}
}

// TestFormerInputsCount: workers that go on with an input which the manifest does not name any more are needed for it.
func TestFormerInputsCount(t *testing.T) {
	ours := map[string]string{jetstream.MetadataPipeline: "shop/obs", jetstream.MetadataStage: "validate", jetstream.MetadataCluster: "east"}
	for name, test := range map[string]struct {
		metadata map[string]string
		reason   string
		want     int64
	}{
		"workers go on with it":       {ours, v1alpha1.ReasonEventsLeft, 7},
		"there are no workers now":    {ours, "", 7},
		"no worker can read it":       {ours, v1alpha1.ReasonRevisionLost, 0},
		"somebody else's":             {map[string]string{jetstream.MetadataPipeline: "shop/other"}, v1alpha1.ReasonEventsLeft, 0},
		"the same pipeline elsewhere": {map[string]string{jetstream.MetadataPipeline: "shop/obs", jetstream.MetadataStage: "validate"}, v1alpha1.ReasonEventsLeft, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			g := meterAt(t, server.URL())
			g.Cluster = "east"
			js := provide(t, server, obs())
			stream, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "FORMER", Subjects: []string{"former"}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = stream.CreateConsumer(t.Context(), natsjs.ConsumerConfig{Durable: "former", AckPolicy: natsjs.AckAllPolicy, Metadata: test.metadata})
			if err != nil {
				t.Fatal(err)
			}
			for range 7 {
				if _, err := js.Publish(t.Context(), "former", nil); err != nil {
					t.Fatal(err)
				}
			}
			var stage v1alpha1.Stage
			if err := g.objects.Get(t.Context(), scaled, &stage); err != nil {
				t.Fatal(err)
			}
			stage.Status.Consumers = []v1alpha1.ConsumerStatus{
				{Stream: "SHOP_OBS_RAW", Name: "shop-obs-validate", Lanes: 1},
				{Stream: "FORMER", Name: "former", Lanes: 1},
				{Stream: "FORMER", Name: "gone", Lanes: 1},
				{Stream: "GONE", Name: "gone", Lanes: 8},
			}
			if test.reason != "" {
				stage.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionInputsDrained, Status: metav1.ConditionFalse, Reason: test.reason}}
			}
			if err := g.objects.Status().Update(t.Context(), &stage); err != nil {
				t.Fatal(err)
			}
			g.eventually(test.want)
		})
	}
}

// eventually waits until the lag is as wanted: the server counts a message a moment after it has confirmed it.
func (g *gauge) eventually(want int64) {
	g.t.Helper()
	var got []Reading
	var err error
	for range 20 {
		if got, err = g.read(); err == nil && len(got) == 1 && got[0].Lag == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	g.t.Errorf("got %+v and %v, want a lag of %d", got, err, want)
}
