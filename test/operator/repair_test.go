package operator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
)

func TestSecondReconcileWritesNothing(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	time.Sleep(3 * fresh) // what was made last has settled
	versions, writes := x.versions(), len(x.writes.of(x.ns))
	consumers := x.consumerTimes()

	looks := shared.reconciles(t)
	harness.Consistently(t, 5*time.Second, func() error {
		x.rouse()
		if got := x.writes.of(x.ns); len(got) > writes {
			return fmt.Errorf("the operator wrote: %s", strings.Join(got[writes:], ", "))
		}
		return nil
	})
	if got := x.versions(); !slices.Equal(got, versions) {
		t.Errorf("objects changed:\n got %v\nwant %v", got, versions)
	}
	if got := x.consumerTimes(); !slices.Equal(got, consumers) {
		t.Errorf("consumers changed:\n got %v\nwant %v", got, consumers)
	}
	if writes == 0 {
		t.Error("the recorder saw no write at all: this test proves nothing")
	}
	if got := shared.reconciles(t) - looks; got < 10 {
		t.Errorf("the operator looked %d times: this test proves nothing", got)
	}
	// An annotation of a user is no reason to write either.
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{"note": "mine"} })
	time.Sleep(2 * fresh)
	if got := x.writes.of(x.ns); len(got) > writes {
		t.Errorf("after an annotation the operator wrote: %s", strings.Join(got[writes:], ", "))
	}
}

// rouse has the operator look at everything of the pipeline, as if somebody had changed it: with
// an advisory for each stream.
func (x *tenant) rouse() {
	x.t.Helper()
	for name := range x.js.StreamNames(x.t.Context()).Name() {
		if strings.HasPrefix(name, x.stream("")) {
			if err := x.js.Conn().Publish("$JS.EVENT.ADVISORY.STREAM.UPDATED."+name, nil); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

// reconciles is how many reconciles have ended, of all tests.
func (w *world) reconciles(t *testing.T) int {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() == "controller_runtime_reconcile_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

// versions lists everything in the namespace that the operator has to do with.
func (x *tenant) versions() []string {
	x.t.Helper()
	var seen []string
	for _, list := range []client.ObjectList{
		&v1alpha1.PipelineList{}, &v1alpha1.StageList{}, &appsv1.DeploymentList{}, &corev1.ConfigMapList{}, &corev1.PodList{},
	} {
		if err := x.client.List(x.t.Context(), list, client.InNamespace(x.ns)); err != nil {
			x.t.Fatal(err)
		}
		seen = append(seen, versionsOf(list)...)
	}
	return seen
}

func versionsOf(list client.ObjectList) []string {
	var seen []string
	add := func(o client.Object) {
		seen = append(seen, fmt.Sprintf("%T %s %s", o, o.GetName(), o.GetResourceVersion()))
	}
	switch l := list.(type) {
	case *v1alpha1.PipelineList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.StageList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *appsv1.DeploymentList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *corev1.ConfigMapList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *corev1.PodList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	}
	return seen
}

func (x *tenant) consumerTimes() []string {
	x.t.Helper()
	var seen []string
	for durable, from := range x.durables() {
		seen = append(seen, durable+" "+x.consumer(x.stream(from), durable).Created.String())
	}
	slices.Sort(seen)
	return seen
}

func TestEditedStreamIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	c := x.streamConfig(x.stream("raw"))
	c.MaxBytes, c.Discard = 5000, natsjs.DiscardOld
	if _, err := x.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	x.heals("edited stream", func() error {
		if c := x.streamConfig(x.stream("raw")); c.MaxBytes != 1<<20 || c.Discard != natsjs.DiscardNew {
			return fmt.Errorf("got %d bytes, discard %s", c.MaxBytes, c.Discard)
		}
		return nil
	})
	x.event("obs", v1alpha1.ReasonRepaired, "max_bytes: 5000 -> 1048576")
	x.ready(p)
}

func TestWhatIsDeletedComesBack(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	raw, durable := x.stream("raw"), x.durable("validate")
	tests := map[string]struct {
		destroy func(t *testing.T)
		back    func() error
	}{
		"consumer": {
			func(t *testing.T) {
				if err := x.js.DeleteConsumer(t.Context(), raw, durable); err != nil {
					t.Fatal(err)
				}
			},
			func() error { return exists(x.consumer(raw, durable) != nil) },
		},
		"stream": {
			func(t *testing.T) {
				if err := x.js.DeleteStream(t.Context(), raw); err != nil {
					t.Fatal(err)
				}
			},
			func() error { return exists(x.hasStream(raw) && x.consumer(raw, durable) != nil) },
		},
		"leases": {
			func(t *testing.T) {
				if err := x.js.DeleteStream(t.Context(), x.leases()); err != nil {
					t.Fatal(err)
				}
			},
			func() error { return exists(x.hasStream(x.leases())) },
		},
		"config map": {
			func(*testing.T) { m := x.configMaps("validate")[0]; x.delete(&m) },
			func() error { return exists(len(x.configMaps("validate")) == 1) },
		},
		"deployment": {
			func(*testing.T) { x.delete(x.deployment("obs-validate")) },
			func() error {
				var d appsv1.Deployment
				err := x.client.Get(t.Context(), client.ObjectKey{Namespace: x.ns, Name: "obs-validate"}, &d)
				if err == nil && d.Status.ReadyReplicas != 1 {
					err = fmt.Errorf("got %d ready replicas", d.Status.ReadyReplicas)
				}
				return err
			},
		},
		"child stage": {
			func(*testing.T) { x.delete(x.stage("obs-validate")) },
			func() error {
				var s v1alpha1.Stage
				err := x.client.Get(t.Context(), client.ObjectKey{Namespace: x.ns, Name: "obs-validate"}, &s)
				if err == nil && !s.DeletionTimestamp.IsZero() {
					err = fmt.Errorf("still being deleted")
				}
				return err
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.destroy(t)
			x.heals("deleted "+name, test.back)
			x.ready(x.stage("obs-validate"), p)
		})
	}
	x.event("obs-validate", v1alpha1.ReasonRepaired, durable)
}

// heals waits until what was broken is whole again, and tells how long that took.
func (x *tenant) heals(what string, whole func() error) {
	x.t.Helper()
	started := time.Now()
	x.eventually(whole)
	x.t.Logf("heal time, %s: %.2f s", what, time.Since(started).Seconds())
}

func exists(there bool) error {
	if !there {
		return fmt.Errorf("not there yet")
	}
	return nil
}

func TestEditedDeploymentIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	edits := map[string]func(*appsv1.Deployment){
		"image":    func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "elsewhere/image:1" },
		"args":     func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Args = []string{"worker"} },
		"replicas": func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) },
		"label":    func(d *appsv1.Deployment) { delete(d.Labels, "app.kubernetes.io/managed-by") },
		"owner":    func(d *appsv1.Deployment) { d.OwnerReferences = nil },
	}
	want := x.deployment("obs-validate")
	for name, change := range edits {
		t.Run(name, func(t *testing.T) {
			edit(x, x.deployment("obs-validate"), change)
			x.heals("edited deployment, "+name, func() error {
				got := x.deployment("obs-validate")
				container := got.Spec.Template.Spec.Containers[0]
				if container.Image != workerImage || len(container.Args) != len(want.Spec.Template.Spec.Containers[0].Args) ||
					*got.Spec.Replicas != 1 || len(got.OwnerReferences) != 1 || got.Labels["app.kubernetes.io/managed-by"] != "millrace" {
					return fmt.Errorf("got image %s, args %v, replicas %d, owners %v, labels %v",
						container.Image, container.Args, *got.Spec.Replicas, got.OwnerReferences, got.Labels)
				}
				return nil
			})
		})
	}
	x.ready(p)
}

func TestEditedChildIsRepaired(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	edit(x, x.stage("obs-validate"), func(s *v1alpha1.Stage) { s.Spec.Validate.Rules[0].Expression = "false" })
	x.eventually(func() error {
		if got := x.stage("obs-validate").Spec.Validate.Rules[0].Expression; got != "event.id != ''" {
			return fmt.Errorf("got rule %q", got)
		}
		return nil
	})
	x.ready(p)
}

func TestForeignStreamIsNeverTouched(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	foreign := natsjs.StreamConfig{Name: x.stream("raw"), Subjects: []string{x.ns + ".theirs.>"}}
	before, err := x.js.CreateStream(t.Context(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	p := x.small()
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	if !strings.Contains(c.Message, foreign.Name) || !strings.Contains(c.Message, "create it again with a name of its own") {
		t.Errorf("got %q, want the stream and what to do", c.Message)
	}
	x.condition(p, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotOwned)
	x.event("obs", v1alpha1.ReasonNotOwned, foreign.Name)
	stage := &v1alpha1.Stage{ObjectMeta: x.named("obs-validate")}
	x.condition(stage, v1alpha1.ConditionConsumersReady, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	var deployments appsv1.DeploymentList
	if err := x.client.List(t.Context(), &deployments, client.InNamespace(x.ns)); err != nil {
		t.Fatal(err)
	}
	after, err := x.js.Stream(t.Context(), foreign.Name)
	if err != nil {
		t.Fatal(err)
	}
	if len(deployments.Items) != 0 || after.CachedInfo().State.Consumers != 0 || after.CachedInfo().Config.MaxBytes != before.CachedInfo().Config.MaxBytes {
		t.Errorf("a stranger's stream was used: %d Deployments, %d consumers", len(deployments.Items), after.CachedInfo().State.Consumers)
	}
	// The way out that the message names first: the stream goes.
	if err := x.js.DeleteStream(t.Context(), foreign.Name); err != nil {
		t.Fatal(err)
	}
	x.ready(p)
}

func TestForeignConsumerIsNeverTouched(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.small()
	p.Spec.Stages[0].Suspend = true
	x.create(p)
	x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	x.eventually(func() error { return exists(x.consumer(x.stream("raw"), x.durable("validate")) != nil) })
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages = append(p.Spec.Stages, v1alpha1.PipelineStage{Name: "enrich", StageNode: x.attached("", "validate").Spec.StageNode})
	})
	x.condition(p, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	// Its metadata are taken away: from now on it is not the operator's.
	c := x.consumer(x.stream("validate"), x.lane("enrich", 2)).Config
	c.Metadata = map[string]string{"mine": "yes"}
	if _, err := x.js.UpdateConsumer(t.Context(), x.stream("validate"), c); err != nil {
		t.Fatal(err)
	}
	s := x.stage("obs-enrich")
	x.condition(s, v1alpha1.ConditionConsumersReady, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	x.condition(s, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotOwned)
	x.delete(p)
	x.gone(p)
	if x.consumer(x.stream("validate"), x.lane("enrich", 2)) == nil {
		t.Error("a consumer that is not the operator's was deleted")
	}
}

func TestImmutableFieldIsRefused(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	if _, err := x.js.CreateStream(t.Context(), natsjs.StreamConfig{
		Name: x.stream("raw"), Subjects: []string{x.ns + ".obs.raw.>"}, Storage: natsjs.MemoryStorage,
		Metadata: map[string]string{"millrace.dev/pipeline": x.ns + "/obs"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	p := x.small()
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStreamsReady, metav1.ConditionFalse, v1alpha1.ReasonImmutable)
	if !strings.Contains(c.Message, "storage: Memory -> File") || !strings.Contains(c.Message, "delete the stream") {
		t.Errorf("got %q, want the field and what to do", c.Message)
	}
	s, err := x.js.Stream(t.Context(), x.stream("raw"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo(); got.Config.Storage != natsjs.MemoryStorage || got.State.Msgs != 1 {
		t.Errorf("the stream was made again: storage %s, %d messages", got.Config.Storage, got.State.Msgs)
	}
	if err := x.js.DeleteStream(t.Context(), x.stream("raw")); err != nil {
		t.Fatal(err)
	}
	x.ready(p)
}
