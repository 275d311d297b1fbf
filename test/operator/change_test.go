package operator_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/operator"
)

// The workers of these tests process nothing: the test does it for them.

// publish stores events in the ingress of pipeline obs.
func (x *tenant) publish(n int) {
	x.t.Helper()
	for range n {
		if _, err := x.js.Publish(x.t.Context(), x.ns+".obs.raw.x", []byte(`{"id":"1"}`)); err != nil {
			x.t.Fatal(err)
		}
	}
}

// process acknowledges the next n messages of a consumer.
func (x *tenant) process(stream, durable string, n int) {
	x.t.Helper()
	c, err := x.js.Consumer(x.t.Context(), stream, durable)
	if err != nil {
		x.t.Fatal(err)
	}
	batch, err := c.Fetch(n, natsjs.FetchMaxWait(patience))
	if err != nil {
		x.t.Fatal(err)
	}
	got := 0
	for m := range batch.Messages() {
		if got++; got == n { // it covers those before
			if err := m.DoubleAck(x.t.Context()); err != nil {
				x.t.Fatal(err)
			}
		}
	}
	if got != n {
		x.t.Fatalf("got %d messages of %s, want %d: %v", got, durable, n, batch.Error())
	}
}

// left waits until a stage says that it has events to process before it changes.
func (x *tenant) left(s *v1alpha1.Stage, events int) {
	x.t.Helper()
	x.eventually(func() error {
		c := x.condition(s, v1alpha1.ConditionInputsDrained, metav1.ConditionFalse, v1alpha1.ReasonEventsLeft)
		if want := fmt.Sprintf("about %d events are left", events); !strings.Contains(c.Message, want) {
			return fmt.Errorf("got %q, want %q", c.Message, want)
		}
		return nil
	})
}

// archive is a pipeline with an attached stage that reads its ingress too, and is three events behind.
func (x *tenant) archive() (*v1alpha1.Pipeline, *v1alpha1.Stage) {
	x.t.Helper()
	x.dropStreams()
	p := x.start(x.small())
	archive := x.attached("archive", "ingress")
	x.create(archive)
	x.ready(archive)
	x.publish(3)
	return p, archive
}

func TestDeletedStageIsDrainedFirst(t *testing.T) {
	x := newTenant(t)
	p, archive := x.archive()
	x.delete(archive)
	x.left(archive, 3)
	time.Sleep(6 * time.Second) // what the operator allows the clocks to differ by
	x.publish(1)                // after the deletion: not the stage's any more
	x.process(x.stream("raw"), x.durable("archive"), 2)
	x.left(archive, 2)
	if d := x.deployment("archive"); !d.DeletionTimestamp.IsZero() || d.Status.ReadyReplicas != 1 {
		t.Errorf("the workers are stopped, %d are ready", d.Status.ReadyReplicas)
	}
	x.process(x.stream("raw"), x.durable("archive"), 1)
	x.gone(archive)
	if x.consumer(x.stream("raw"), x.durable("archive")) != nil {
		t.Error("the consumer of a deleted stage is still there")
	}
	x.ready(p)
}

func TestStageIsNotDrainedWhenAPersonSaysSo(t *testing.T) {
	x := newTenant(t)
	_, archive := x.archive()
	x.delete(archive)
	x.left(archive, 3)
	edit(x, archive, func(s *v1alpha1.Stage) { s.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"} })
	x.gone(archive)
}

// TestRemovedEntryIsDrainedFirst: the Pipeline says what it waits for.
func TestRemovedEntryIsDrainedFirst(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.pipeline()
	p.Spec.Stages = append(p.Spec.Stages[:1], v1alpha1.PipelineStage{Name: "archive", StageNode: x.attached("", "ingress").Spec.StageNode})
	x.start(p)
	x.publish(2)
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages = p.Spec.Stages[:1] })
	x.left(x.stage("obs-archive"), 2)
	c := x.condition(p, v1alpha1.ConditionStagesReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	if !strings.Contains(c.Message, "archive") {
		t.Errorf("got %q, want what the deleted stage waits for", c.Message)
	}
	x.process(x.stream("raw"), x.durable("archive"), 2)
	x.gone(&v1alpha1.Stage{ObjectMeta: x.named("obs-archive")})
	x.ready(p)
}

func TestChangedInputIsDrainedFirst(t *testing.T) {
	x := newTenant(t)
	_, archive := x.archive()
	before := x.stage("archive").Status.Revision
	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate/dead-letter"} })
	x.left(archive, 3)
	if got := x.stage("archive").Status.Revision; got != before {
		t.Errorf("the workers are of revision %s, want %s until they have processed what they read before", got, before)
	}
	if lag := x.stage("archive").Status.Lag; lag == nil || *lag != 3 {
		t.Errorf("got lag %v, want 3", lag)
	}
	x.process(x.stream("raw"), x.durable("archive"), 3)
	x.ready(archive)
	x.eventually(func() error {
		if x.consumer(x.stream("raw"), x.durable("archive")) != nil {
			return fmt.Errorf("the consumer on the old input is still there")
		}
		if got := x.stage("archive").Status.Revision; got == before {
			return fmt.Errorf("the workers are still of revision %s", got)
		}
		return nil
	})
}

// TestFormerPositionsOutliveTheWorkers: what the workers of a changed stage were made from is deleted while they go on
// with its former input.
func TestFormerPositionsOutliveTheWorkers(t *testing.T) {
	x := newTenant(t)
	_, archive := x.archive()
	before := x.stage("archive").Status.Revision
	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate/dead-letter"} })
	x.left(archive, 3)

	deployment := x.deployment("archive")
	x.delete(deployment)
	x.eventually(func() error {
		var d appsv1.Deployment
		if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(deployment), &d); err != nil {
			return err
		}
		if d.UID == deployment.UID || !d.DeletionTimestamp.IsZero() || d.Status.ReadyReplicas != 1 {
			return fmt.Errorf("the Deployment is not there again: %+v", d.Status)
		}
		return nil
	})
	if got := x.stage("archive").Status.Revision; got != before {
		t.Errorf("the workers are of revision %s, want %s, which reads the former input", got, before)
	}
	x.left(archive, 3)
	x.process(x.stream("raw"), x.durable("archive"), 1)

	x.delete(&appsv1.ControllerRevision{ObjectMeta: x.named(before)})
	x.eventually(func() error {
		c := x.condition(archive, v1alpha1.ConditionInputsDrained, metav1.ConditionFalse, v1alpha1.ReasonRevisionLost)
		if !strings.Contains(c.Message, "about 2 events") {
			return fmt.Errorf("got %q, want that two events are left", c.Message)
		}
		return nil
	})
	if x.consumer(x.stream("raw"), x.durable("archive")) == nil {
		t.Fatal("the consumer is deleted, with events that were not processed")
	}
	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"ingress", "validate/dead-letter"} })
	x.ready(archive)
	x.process(x.stream("raw"), x.durable("archive"), 2)
}

// configKey is the member of a ConfigMap that workers read.
const configKey = "stage.json"

// mounted is the ConfigMap that the workers of a Deployment mount.
func mounted(d *appsv1.Deployment) string {
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.ConfigMap != nil {
			return v.ConfigMap.Name
		}
	}
	return ""
}

// TestConfigMapMakesNoPod: somebody who may write ConfigMaps, and no pods, writes into that of the workers; while they have to
// stay on an earlier revision, and afterwards. Revisions themselves nobody can change.
func TestConfigMapMakesNoPod(t *testing.T) {
	x := newTenant(t)
	_, archive := x.archive()
	before, running := x.stage("archive").Status.Revision, x.deployment("archive")
	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate/dead-letter"} })
	x.left(archive, 3)
	cm := &corev1.ConfigMap{ObjectMeta: x.named(mounted(running))}
	x.get(cm)
	whole := cm.Data[configKey]
	edit(x, cm, func(c *corev1.ConfigMap) {
		c.Data["deployment.json"] = `{"template":{"spec":{"serviceAccountName":"powerful","containers":[{"name":"worker","image":"evil.example/x:1"}]}}}`
		c.Data[configKey] = "{"
	})
	x.eventually(func() error {
		if x.get(cm); cm.Data[configKey] != whole {
			return fmt.Errorf("the config is not repaired: %s", cm.Data[configKey])
		}
		return nil
	})
	x.left(archive, 3)
	if got := x.deployment("archive"); got.Generation != running.Generation {
		t.Errorf("the Deployment was written: %+v", got.Spec.Template.Spec)
	}

	object := &appsv1.ControllerRevision{ObjectMeta: x.named(before)}
	x.get(object)
	old := object.DeepCopy()
	object.Data.Raw = bytes.Replace(object.Data.Raw, []byte("millrace/worker:test"), []byte("evil.example/x:1"), 1)
	if err := x.client.Patch(t.Context(), object, client.MergeFrom(old)); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("got %v of an edit of a revision, want that it is immutable", err)
	}
	x.process(x.stream("raw"), x.durable("archive"), 3)
	x.ready(archive)
	if got := x.stage("archive").Status.Revision; got == before {
		t.Errorf("the workers are still of revision %s", got)
	}
}

// TestLostStatusComesBack: the status of a stage with a former input is deleted, as by a restore from a backup that has none. What is in
// the cluster and in NATS tells all of it again, and nothing is left behind.
func TestLostStatusComesBack(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		change func(x *tenant, archive *v1alpha1.Stage)
	}{
		"workers go on with the former input": {v1alpha1.ReasonEventsLeft, func(*tenant, *v1alpha1.Stage) {}},
		"the revision is gone": {v1alpha1.ReasonRevisionLost, func(x *tenant, archive *v1alpha1.Stage) {
			x.delete(&appsv1.ControllerRevision{ObjectMeta: x.named(x.stage("archive").Status.Revision)})
			x.condition(archive, v1alpha1.ConditionInputsDrained, metav1.ConditionFalse, v1alpha1.ReasonRevisionLost)
			x.condition(archive, v1alpha1.ConditionWorkersAvailable, metav1.ConditionTrue, v1alpha1.ReasonReady)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t)
			_, archive := x.archive()
			edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate/dead-letter"} })
			x.left(archive, 3)
			test.change(x, archive)
			before := x.stage("archive")
			lost := before.DeepCopy()
			lost.Status = v1alpha1.StageStatus{}
			if err := x.client.Status().Patch(t.Context(), lost, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			c := x.condition(archive, v1alpha1.ConditionInputsDrained, metav1.ConditionFalse, test.reason)
			if !strings.Contains(c.Message, "about 3 events") {
				t.Errorf("got %q, want that three events are left", c.Message)
			}
			x.eventually(func() error {
				now := x.stage("archive").Status
				if now.Revision != before.Status.Revision {
					return fmt.Errorf("the workers are of revision %s, want %s", now.Revision, before.Status.Revision)
				}
				names := func(s v1alpha1.StageStatus) (all []string) {
					for _, c := range s.Consumers {
						all = append(all, fmt.Sprintf("%s/%s %d", c.Stream, c.Name, c.Lanes))
					}
					return all
				}
				if diff := cmp.Diff(names(before.Status), names(now)); diff != "" {
					return fmt.Errorf("consumers (-before +now):\n%s", diff)
				}
				return nil
			})
			if test.reason == v1alpha1.ReasonRevisionLost {
				edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"ingress", "validate/dead-letter"} })
				x.ready(archive)
				x.process(x.stream("raw"), x.durable("archive"), 3)
				return
			}
			x.process(x.stream("raw"), x.durable("archive"), 3)
			x.ready(archive)
			x.eventually(func() error {
				if x.consumer(x.stream("raw"), x.durable("archive")) != nil {
					return fmt.Errorf("the consumer on the old input is still there")
				}
				return nil
			})
		})
	}
}

// TestOtherLanesAreRefused: in other lanes a stage would store its dead letters again. It goes on as it is until the edit is undone.
func TestOtherLanesAreRefused(t *testing.T) {
	x := newTenant(t)
	_, archive := x.archive()
	before, running := x.stage("archive").Status.Revision, x.deployment("archive")
	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate"} })
	x.saying(archive, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid, `from: Invalid value: ["validate"]: changes the number of lanes of stage "archive" from 1 to 8`)
	x.saying(x.thePipeline(), v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "attached stages that do not fit, see their status: archive")
	if got := x.deployment("archive"); got.Generation != running.Generation || x.stage("archive").Status.Revision != before {
		t.Errorf("the workers are not as they were: %+v", got.Spec)
	}
	if x.consumer(x.stream("raw"), x.durable("archive")) == nil {
		t.Error("the consumer of the workers is gone")
	}
	if x.consumer(x.stream("validate"), x.durable("archive")+"_lane-0") != nil {
		t.Error("a consumer of other lanes is made")
	}

	live := x.stage("archive")
	old := live.DeepCopy()
	live.Status = v1alpha1.StageStatus{}
	if err := x.client.Status().Patch(t.Context(), live, client.MergeFrom(old)); err != nil {
		t.Fatal(err)
	}
	x.saying(archive, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid, "from 1 to 8")

	edit(x, archive, func(s *v1alpha1.Stage) { s.Spec.From = []string{"ingress"} })
	x.process(x.stream("raw"), x.durable("archive"), 3)
	x.ready(archive)
	if got := x.stage("archive").Status.Revision; got != before {
		t.Errorf("the workers are of revision %s, want %s as before the edit", got, before)
	}
}

// TestDeletionPolicyDeleteDrainsFirst: what would be deleted unprocessed is processed before.
func TestDeletionPolicyDeleteDrainsFirst(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.small()
	p.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	x.start(p)
	x.publish(2)
	x.delete(p)
	x.left(x.stage("obs-validate"), 2)
	if !x.hasStream(x.stream("raw")) {
		t.Error("the stream is gone, with events that were not processed")
	}
	x.process(x.stream("raw"), x.durable("validate"), 2)
	x.gone(p)
	if x.hasStream(x.stream("raw")) {
		t.Error("the stream is still there")
	}
}

// pods of a stage by UID.
func (x *tenant) pods(stage string) map[string]corev1.Pod {
	x.t.Helper()
	var list corev1.PodList
	err := x.client.List(x.t.Context(), &list, client.InNamespace(x.ns), client.MatchingLabels{v1alpha1.LabelStage: stage})
	if err != nil {
		x.t.Fatal(err)
	}
	pods := map[string]corev1.Pod{}
	for _, p := range list.Items {
		if p.DeletionTimestamp.IsZero() {
			pods[string(p.UID)] = p
		}
	}
	return pods
}

// replaced waits until a stage is ready with none of the pods that it had.
func (x *tenant) replaced(stage string, before map[string]corev1.Pod) {
	x.t.Helper()
	x.eventually(func() error {
		now := x.pods(stage)
		for uid := range now {
			if _, old := before[uid]; old {
				return fmt.Errorf("pod %s of stage %s is not replaced", before[uid].Name, stage)
			}
		}
		if len(now) == 0 {
			return fmt.Errorf("stage %s has no pods", stage)
		}
		return nil
	})
	x.ready(x.stage("obs-" + stage))
}

func (x *tenant) unchanged(stage string, before map[string]corev1.Pod) {
	x.t.Helper()
	now := x.pods(stage)
	if len(now) != len(before) {
		x.t.Errorf("stage %s has %d pods, had %d", stage, len(now), len(before))
	}
	for uid, p := range before {
		if _, ok := now[uid]; !ok {
			x.t.Errorf("pod %s of stage %s was replaced", p.Name, stage)
		}
	}
}

func TestRestart(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	validate, enrich := x.pods("validate"), x.pods("enrich")
	edit(x, x.stage("obs-validate"), func(s *v1alpha1.Stage) { s.Annotations = map[string]string{v1alpha1.AnnotationRestart: "1"} })
	x.replaced("validate", validate)
	x.unchanged("enrich", enrich)
	validate = x.pods("validate")
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "2"} })
	x.replaced("validate", validate)
	x.replaced("enrich", enrich)
	x.ready(p)
}

// TestEditsThatRestartNoWorker: what is not the workers' logic reaches them, or the operator, without.
func TestEditsThatRestartNoWorker(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	validate, enrich := x.pods("validate"), x.pods("enrich")
	for what, change := range map[string]func(*v1alpha1.Pipeline){
		"bounds of scaling": func(p *v1alpha1.Pipeline) {
			p.Spec.Stages[0].Workers.Max, p.Spec.Stages[0].Workers.TargetLag = 3, 100
		},
		"limits of streams": func(p *v1alpha1.Pipeline) { p.Spec.Streams.MaxAge = &metav1.Duration{Duration: time.Hour} },
		"another stage":     func(p *v1alpha1.Pipeline) { p.Spec.Stages[3].Analyze.Anomaly = &v1alpha1.AnomalySpec{} },
		"deletion policy":   func(p *v1alpha1.Pipeline) { p.Spec.DeletionPolicy = v1alpha1.DeletionDelete },
	} {
		edit(x, p, change)
		x.ready(p)
		t.Logf("edited: %s", what)
	}
	rules := func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules[0].Message = "an event needs an id" }
	edit(x, p, rules)
	x.eventually(func() error { // workers read it again
		maps := x.configMaps("validate")
		if len(maps) != 1 || !strings.Contains(maps[0].Data["stage.json"], "an event needs an id") {
			return fmt.Errorf("the rules are not in the one ConfigMap: %d ConfigMaps", len(maps))
		}
		return nil
	})
	x.ready(p)
	x.unchanged("validate", validate)
	x.unchanged("enrich", enrich)
}

// TestNewOperatorRestartsNoWorker replaces the operator by one of another release.
func TestNewOperatorRestartsNoWorker(t *testing.T) {
	t.Parallel()
	x := newTenantAlone(t)
	run := func(version string) (end func()) {
		return x.operate(func(o *operator.Options) { o.Version, o.WorkerImage = version, "millrace/worker:"+version })
	}
	end := run("1")
	p := x.start(x.small())
	before, deployment := x.pods("validate"), x.deployment("obs-validate")
	end()

	end = run("2")
	defer func() { end() }()
	s := x.stage("obs-validate")
	x.eventually(func() error {
		c := x.condition(s, v1alpha1.ConditionWorkersAvailable, metav1.ConditionTrue, v1alpha1.ReasonReady)
		if !strings.Contains(c.Message, "as an earlier release of the operator made them") || !strings.Contains(c.Message, v1alpha1.AnnotationRestart) {
			return fmt.Errorf("got %q, want that the workers are of an earlier release, and how to replace them", c.Message)
		}
		return nil
	})
	x.unchanged("validate", before)
	if got := x.deployment("obs-validate"); got.Generation != deployment.Generation {
		t.Errorf("the Deployment was written: %+v", got.Spec)
	}
	image := func() string { return x.deployment("obs-validate").Spec.Template.Spec.Containers[0].Image }

	// What is damaged is repaired as it was.
	x.delete(x.deployment("obs-validate"))
	x.replaced("validate", before)
	if got := image(); got != "millrace/worker:1" {
		t.Errorf("repaired with image %s, want that of the revision", got)
	}
	before = x.pods("validate")
	end()

	// An edit while no operator runs is not taken for the new release's doing.
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[0].Workers.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
	})
	end = run("3")
	x.replaced("validate", before)
	if got := image(); got != "millrace/worker:3" {
		t.Errorf("got image %s after an edit, want that of the new release", got)
	}
	before = x.pods("validate")
	end()
	end = run("4")
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "now"} })
	x.replaced("validate", before)
	if got := image(); got != "millrace/worker:4" {
		t.Errorf("got image %s after a restart, want that of the new release", got)
	}
}

// TestRefusedPipelineRunsOn: an edit that the planner refuses, and that passed where there is no webhook, stops nothing: what is
// deleted is made again, what is scaled is scaled, lag is measured, and the stages are ready.
func TestRefusedPipelineRunsOn(t *testing.T) {
	x := newTenant(t)
	p := x.start(x.pipeline())
	stage := x.stage("obs-validate")
	before := stage.Status.Revision
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[0].Validate.Rules = []v1alpha1.ValidateRule{{Expression: "event.id !=", Message: "typo"}}
	})
	x.condition(p, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	x.saying(stage, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "runs on as it was accepted last")
	x.publish(2)

	deployment := x.deployment("obs-validate")
	x.delete(deployment)
	x.eventually(func() error {
		var d appsv1.Deployment
		if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(deployment), &d); err != nil {
			return err
		}
		if d.UID == deployment.UID || d.Status.ReadyReplicas != 1 {
			return fmt.Errorf("the Deployment is not there again: %+v", d.Status)
		}
		return nil
	})
	edit(x, stage, func(s *v1alpha1.Stage) { s.Spec.Replicas = new(int32(3)) })
	x.eventually(func() error {
		if got := x.deployment("obs-validate").Spec.Replicas; *got != 3 {
			return fmt.Errorf("got %d replicas, want 3", *got)
		}
		return nil
	})
	x.ready(stage)
	x.eventually(func() error {
		if lag := x.stage("obs-validate").Status.Lag; lag == nil || *lag != 2 {
			return fmt.Errorf("got lag %v, want 2", lag)
		}
		return nil
	})
	if got := x.stage("obs-validate").Status.Revision; got != before {
		t.Errorf("the workers are of revision %s, want %s", got, before)
	}
}
