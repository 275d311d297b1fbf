package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/operator"
	"millrace.dev/millrace/test/harness"
)

// tenant is one test's namespace.
type tenant struct {
	*world
	t  *testing.T
	ns string
}

// newTenant makes a namespace that admits only restricted pods, with the account of
// workers that read the cluster.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	t.Parallel() // most of a test is waiting
	return nextTenant(t)
}

// nextTenant is a further namespace of a test that has one.
func nextTenant(t *testing.T) *tenant {
	t.Helper()
	return nextTenantIn(t, shared)
}

// newTenantAlone is for tests that run operators of their own: it has a world of its own, without one.
func newTenantAlone(t *testing.T) *tenant {
	t.Helper()
	w, stop, err := startWorld(t.Context())
	t.Cleanup(stop)
	if err != nil {
		t.Fatal(err)
	}
	return nextTenantIn(t, w)
}

// operate runs an operator until end is called.
func (x *tenant) operate(change func(*operator.Options)) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(x.t.Context()))
	done := make(chan error, 1)
	go func() { done <- x.runOperator(ctx, change) }()
	return func() {
		x.t.Helper()
		cancel()
		if err := <-done; err != nil {
			x.t.Errorf("operator: %v", err)
		}
	}
}

func nextTenantIn(t *testing.T, w *world) *tenant {
	t.Helper()
	x := &tenant{world: w, t: t}
	x.ns = harness.NewNamespace(t, w.plane, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	x.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: x.ns, Name: "millrace-worker"}})
	return x
}

// pipeline is validate -> enrich -> correlate and analyze.
func (x *tenant) pipeline() *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.ns, Name: "obs"},
		Spec: v1alpha1.PipelineSpec{
			Streams: v1alpha1.StreamDefaults{MaxBytes: new(resource.MustParse("1Mi"))},
			Ingress: v1alpha1.IngressSpec{Stream: x.stream("raw"), Subject: "raw"},
			Stages: []v1alpha1.PipelineStage{
				{Name: "validate", StageNode: v1alpha1.StageNode{
					From: []string{"ingress"},
					Validate: &v1alpha1.ValidateSpec{
						Rules: []v1alpha1.ValidateRule{{Expression: "event.id != ''", Message: "id must be set"}},
					},
				}},
				{Name: "enrich", StageNode: v1alpha1.StageNode{
					From:   []string{"validate"},
					Enrich: &v1alpha1.EnrichSpec{Kubernetes: &v1alpha1.EnrichKubernetesSpec{}, Semantic: &v1alpha1.EnrichSemanticSpec{}},
				}},
				{Name: "correlate", StageNode: v1alpha1.StageNode{
					From: []string{"enrich"}, Correlate: &v1alpha1.CorrelateSpec{Realtime: &v1alpha1.RealtimeSpec{}},
				}},
				{Name: "analyze", StageNode: v1alpha1.StageNode{
					From: []string{"enrich"}, Analyze: &v1alpha1.AnalyzeSpec{Trend: &v1alpha1.TrendSpec{}},
				}},
			},
		},
	}
}

// small is the one-stage pipeline of tests that need no more.
func (x *tenant) small() *v1alpha1.Pipeline {
	p := x.pipeline()
	p.Spec.Stages = p.Spec.Stages[:1]
	return p
}

// attached is a Stage that a user adds to the pipeline.
func (x *tenant) attached(name string, from ...string) *v1alpha1.Stage {
	return &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.ns, Name: name},
		Spec: v1alpha1.StageSpec{
			PipelineRef: v1alpha1.PipelineRef{Name: "obs"},
			StageNode:   v1alpha1.StageNode{From: from, Enrich: &v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}}},
		},
	}
}

// stream is the derived name of a stream of pipeline obs.
func (x *tenant) stream(what string) string {
	return strings.ReplaceAll(strings.ToUpper(x.ns+"_obs_"+what), "-", "_")
}

// durable is the derived name of a consumer of pipeline obs: the one of a stage with one lane.
func (x *tenant) durable(stage string) string { return x.ns + "-obs-" + stage }

// lane is that of a lane of a stage that has several.
func (x *tenant) lane(stage string, lane int) string {
	return fmt.Sprintf("%s_lane-%d", x.durable(stage), lane)
}

// leases is the stream of the bucket of pipeline obs.
func (x *tenant) leases() string { return "KV_" + x.ns + "_obs" }

// snapshots is the stream of the bucket of snapshots of pipeline obs.
func (x *tenant) snapshots() string { return "KV_STATE_" + x.ns + "_obs" }

func (x *tenant) create(objects ...client.Object) {
	x.t.Helper()
	for _, o := range objects {
		if err := x.client.Create(x.t.Context(), o); err != nil {
			x.t.Fatal(err)
		}
	}
}

func (x *tenant) delete(objects ...client.Object) {
	x.t.Helper()
	for _, o := range objects {
		if err := x.client.Delete(x.t.Context(), o); err != nil {
			x.t.Fatal(err)
		}
	}
}

// edit changes an object as a user would: with a merge patch.
func edit[T client.Object](x *tenant, object T, change func(T)) {
	x.t.Helper()
	x.get(object)
	before, ok := object.DeepCopyObject().(T)
	if !ok {
		x.t.Fatalf("copy of %T", object)
	}
	change(object)
	if err := x.client.Patch(x.t.Context(), object, client.MergeFrom(before)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenant) get(object client.Object) {
	x.t.Helper()
	if err := x.client.Get(x.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenant) named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: x.ns, Name: name}
}

// forServer names a Secret that may be shown to a server.
func (x *tenant) forServer(name, url string) metav1.ObjectMeta {
	meta := x.named(name)
	meta.Annotations = map[string]string{v1alpha1.AnnotationNATSURL: url}
	return meta
}

func (x *tenant) thePipeline() *v1alpha1.Pipeline {
	x.t.Helper()
	p := &v1alpha1.Pipeline{ObjectMeta: x.named("obs")}
	x.get(p)
	return p
}

func (x *tenant) stage(name string) *v1alpha1.Stage {
	x.t.Helper()
	s := &v1alpha1.Stage{ObjectMeta: x.named(name)}
	x.get(s)
	return s
}

func (x *tenant) deployment(name string) *appsv1.Deployment {
	x.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: x.named(name)}
	x.get(d)
	return d
}

func (x *tenant) configMaps(stage string) []corev1.ConfigMap {
	x.t.Helper()
	var list corev1.ConfigMapList
	err := x.client.List(x.t.Context(), &list, client.InNamespace(x.ns), client.MatchingLabels{v1alpha1.LabelStage: stage})
	if err != nil {
		x.t.Fatal(err)
	}
	return list.Items
}

// eventually waits for a check to pass.
func (x *tenant) eventually(check func() error) {
	x.t.Helper()
	harness.Eventually(x.t, patience, check)
}

// condition waits until a condition of an object has a status and reason, and returns it.
func (x *tenant) condition(object client.Object, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	x.t.Helper()
	return x.saying(object, kind, status, reason, "")
}

// saying waits until a condition has a status and reason, and a part of its message, in whatever case: the first message of a server that
// cannot be used is often that there is no connection yet.
func (x *tenant) saying(object client.Object, kind string, status metav1.ConditionStatus, reason, part string) metav1.Condition {
	x.t.Helper()
	var found metav1.Condition
	x.eventually(func() error {
		if err := x.client.Get(x.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		conditions := conditionsOf(object)
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != object.GetGeneration() {
			return fmt.Errorf("%T %s: want %s %s %s of generation %d, have %s",
				object, object.GetName(), kind, status, reason, object.GetGeneration(), describe(conditions))
		}
		if !strings.Contains(strings.ToLower(c.Message), strings.ToLower(part)) {
			return fmt.Errorf("%T %s: condition %s says %q, want %q", object, object.GetName(), kind, c.Message, part)
		}
		found = *c
		return nil
	})
	return found
}

// ready waits until an object is Ready.
func (x *tenant) ready(objects ...client.Object) {
	x.t.Helper()
	for _, o := range objects {
		x.condition(o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// start creates a pipeline and waits until it is Ready.
func (x *tenant) start(p *v1alpha1.Pipeline) *v1alpha1.Pipeline {
	x.t.Helper()
	x.create(p)
	x.ready(p)
	return p
}

func conditionsOf(object client.Object) []metav1.Condition {
	switch o := object.(type) {
	case *v1alpha1.Pipeline:
		return o.Status.Conditions
	case *v1alpha1.Stage:
		return o.Status.Conditions
	default:
		return nil
	}
}

func describe(conditions []metav1.Condition) string {
	var b strings.Builder
	for _, c := range conditions {
		fmt.Fprintf(&b, "\n  %s=%s %s (%d): %s", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message)
	}
	return b.String()
}

// gone waits until an object does not exist.
func (x *tenant) gone(object client.Object) {
	x.t.Helper()
	x.eventually(func() error {
		err := x.client.Get(x.t.Context(), client.ObjectKeyFromObject(object), object)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil {
			return fmt.Errorf("%T %s is still there, finalizers %v", object, object.GetName(), object.GetFinalizers())
		}
		return nil
	})
}

// event waits for an Event with a reason about an object of a name, and returns its note.
func (x *tenant) event(name, reason, contains string) {
	x.t.Helper()
	x.eventually(func() error {
		var list eventsv1.EventList
		if err := x.client.List(x.t.Context(), &list, client.InNamespace(x.ns)); err != nil {
			return err
		}
		var seen []string
		for _, e := range list.Items {
			if e.Regarding.Name == name && e.Reason == reason && strings.Contains(e.Note, contains) {
				return nil
			}
			if e.Regarding.Name == name {
				seen = append(seen, e.Reason+": "+e.Note)
			}
		}
		return fmt.Errorf("no event %s about %s with %q; there are:\n  %s", reason, name, contains, strings.Join(seen, "\n  "))
	})
}

func (x *tenant) streamConfig(name string) natsjs.StreamConfig {
	x.t.Helper()
	s, err := x.js.Stream(x.t.Context(), name)
	if err != nil {
		x.t.Fatalf("stream %s: %v", name, err)
	}
	return s.CachedInfo().Config
}

// hasStream tells whether a stream exists.
func (x *tenant) hasStream(name string) bool {
	x.t.Helper()
	_, err := x.js.Stream(x.t.Context(), name)
	if err != nil && !errors.Is(err, natsjs.ErrStreamNotFound) {
		x.t.Fatal(err)
	}
	return err == nil
}

// consumer returns nil when it does not exist.
func (x *tenant) consumer(stream, durable string) *natsjs.ConsumerInfo {
	x.t.Helper()
	c, err := x.js.Consumer(x.t.Context(), stream, durable)
	if errors.Is(err, natsjs.ErrConsumerNotFound) || errors.Is(err, natsjs.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return c.CachedInfo()
}

// dropStreams deletes what a test leaves in the shared server.
func (x *tenant) dropStreams() {
	x.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.t.Context()), 10*time.Second)
		defer cancel()
		for name := range x.js.StreamNames(ctx).Name() {
			if strings.HasPrefix(name, x.stream("")) || name == x.leases() || name == x.snapshots() {
				_ = x.js.DeleteStream(ctx, name)
			}
		}
	})
}

func inNamespace(name string) client.ListOption { return client.InNamespace(name) }

// hasCondition tells whether there is a condition of a type.
func hasCondition(conditions []metav1.Condition, kind string) bool {
	return meta.FindStatusCondition(conditions, kind) != nil
}
