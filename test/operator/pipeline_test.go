package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func TestPipelineBecomesStreamsConsumersAndWorkers(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())

	t.Run("streams", func(t *testing.T) {
		for _, what := range []string{"raw", "validate", "enrich", "correlate", "analyze", "insights", "dead_letters"} {
			c := x.streamConfig(x.stream(what))
			if c.Retention != natsjs.LimitsPolicy || c.Discard != natsjs.DiscardNew || c.MaxBytes != 1<<20 || !c.AllowDirect || !c.AllowAtomicPublish {
				t.Errorf("stream %s: retention %s, discard %s, bytes %d, direct %v, atomic %v",
					c.Name, c.Retention, c.Discard, c.MaxBytes, c.AllowDirect, c.AllowAtomicPublish)
			}
			if got, want := c.Metadata["millrace.dev/pipeline"], x.ns+"/obs"; got != want {
				t.Errorf("stream %s: belongs to %q, want %q", c.Name, got, want)
			}
		}
	})
	t.Run("leases", func(t *testing.T) {
		c := x.streamConfig(x.leases())
		if c.MaxMsgsPerSubject != 1 || c.Metadata["millrace.dev/pipeline"] != x.ns+"/obs" {
			t.Errorf("got history %d of %q, want the newest value alone, owned by the pipeline", c.MaxMsgsPerSubject, c.Metadata["millrace.dev/pipeline"])
		}
		kv, err := x.js.KeyValue(t.Context(), strings.TrimPrefix(x.leases(), "KV_"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Create(t.Context(), "validate", []byte("mine")); err != nil {
			t.Error(err)
		}
	})
	t.Run("children", func(t *testing.T) {
		for _, name := range []string{"validate", "enrich", "correlate", "analyze"} {
			s := x.stage("obs-" + name)
			if !metav1.IsControlledBy(s, p) {
				t.Errorf("Stage %s is not the Pipeline's", s.Name)
			}
			if s.Status.ReadyWorkers != 1 || s.Status.Lag == nil || *s.Status.Lag != 0 || s.Status.Kind != name {
				t.Errorf("Stage %s: got status %+v", s.Name, s.Status)
			}
		}
	})
	t.Run("consumers", func(t *testing.T) {
		for durable, from := range x.durables() {
			c := x.consumer(x.stream(from), durable)
			if c == nil {
				t.Errorf("there is no consumer %s on %s", durable, from)
				continue
			}
			stage, _, _ := strings.Cut(strings.TrimPrefix(durable, x.durable("")), "_")
			if c.Config.AckPolicy != natsjs.AckAllPolicy || c.Config.DeliverPolicy != natsjs.DeliverAllPolicy ||
				c.Config.MaxDeliver != -1 || c.Config.InactiveThreshold != 0 || c.Config.Metadata["millrace.dev/stage"] != stage {
				t.Errorf("consumer %s: got %+v", durable, c.Config)
			}
		}
		if c := x.consumer(x.stream("validate"), x.lane("enrich", 3)); c == nil || c.Config.FilterSubject != x.ns+".obs.validate.3" {
			t.Errorf("lane 3 of enrich: got %+v, want partition 3", c)
		}
	})
	t.Run("config", func(t *testing.T) {
		maps := x.configMaps("enrich")
		if len(maps) != 1 {
			t.Fatalf("got ConfigMaps %v, want one", maps)
		}
		c, err := config.Parse([]byte(maps[0].Data["stage.json"]))
		if err != nil {
			t.Fatal(err)
		}
		got := []string{c.Pipeline.String(), c.Stage, string(c.Kind), c.NATS.URL, c.Inputs[0].Stream, c.Inputs[0].Consumer(7, c.Lanes), "KV_" + c.Leases}
		want := []string{x.ns + "/obs", "enrich", "enrich", x.nats.URL(), x.stream("validate"), x.lane("enrich", 7), x.leases()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("status", func(t *testing.T) {
		x.eventually(func() error {
			s := x.thePipeline().Status
			if s.Stages != "4/4" || s.Lag == nil || *s.Lag != 0 || len(s.Streams) != 9 || s.Ingress != x.ns+".obs.raw.>" {
				return fmt.Errorf("got stages %q, lag %v, %d streams, ingress %q", s.Stages, s.Lag, len(s.Streams), s.Ingress)
			}
			return nil
		})
	})
	x.event("obs", v1alpha1.ReasonCreated, "created streams "+x.stream("raw"))
	x.event("obs-validate", v1alpha1.ReasonCreated, "consumer "+x.durable("validate"))
	x.event("obs-enrich", v1alpha1.ReasonCreated, fmt.Sprintf("consumer %s to %s (8) of stream %s", x.lane("enrich", 0), x.lane("enrich", 7), x.stream("validate")))
}

// durables are the consumers of the pipeline of four stages, with what they read.
func (x *tenant) durables() map[string]string {
	all := map[string]string{x.durable("validate"): "raw", x.durable("correlate"): "enrich"}
	for lane := range 8 {
		all[x.lane("enrich", lane)] = "validate"
		all[x.lane("analyze", lane)] = "enrich"
	}
	return all
}

// TestLagIsSummedUpOverLanes: what the consumers of all lanes have not acknowledged.
func TestLagIsSummedUpOverLanes(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.pipeline())
	for partition := range 3 {
		m := nats.NewMsg(fmt.Sprintf("%s.obs.validate.%d", x.ns, partition))
		m.Header.Set("Millrace-Events", "10")
		if _, err := x.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	x.rouse() // nothing came in at the ingress, so nobody would look before the resync
	x.eventually(func() error {
		s := x.stage("obs-enrich").Status
		if s.Lag == nil || *s.Lag != 30 || len(s.Consumers) != 1 || s.Consumers[0].Lanes != 8 || s.Consumers[0].Pending != 3 {
			return fmt.Errorf("got lag %v, consumers %+v", s.Lag, s.Consumers)
		}
		return nil
	})
}

func TestLagIsReportedInEvents(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	for range 3 { // the test's workers read nothing
		if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte(`{"id":"1"}`)); err != nil {
			t.Fatal(err)
		}
	}
	x.eventually(func() error {
		s, p := x.stage("obs-validate").Status, x.thePipeline().Status
		if s.Lag == nil || *s.Lag != 3 || s.LagSeconds == nil || *s.LagSeconds < 1 || s.Consumers[0].Pending != 3 {
			return fmt.Errorf("Stage: got lag %v, seconds %v, consumers %+v", s.Lag, s.LagSeconds, s.Consumers)
		}
		if p.Lag == nil || *p.Lag != 3 || p.Streams[0].Messages != 3 {
			return fmt.Errorf("Pipeline: got lag %v, streams %+v", p.Lag, p.Streams)
		}
		return nil
	})
}

func TestChangedConfigRollsOutAndTheOldOneGoes(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	before := x.configMaps("validate")[0].Name
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{Window: &metav1.Duration{Duration: 42 * time.Second}}
	})
	x.eventually(func() error {
		maps := x.configMaps("validate")
		if len(maps) != 1 || maps[0].Name == before || !strings.Contains(maps[0].Data["stage.json"], "42s") {
			return fmt.Errorf("got %d ConfigMaps, first %s, before %s", len(maps), maps[0].Name, before)
		}
		for _, v := range x.deployment("obs-validate").Spec.Template.Spec.Volumes {
			if v.ConfigMap != nil && v.ConfigMap.Name != maps[0].Name {
				return fmt.Errorf("workers mount %s, want %s", v.ConfigMap.Name, maps[0].Name)
			}
		}
		return nil
	})
	x.ready(p)
}

func TestMoreWorkersThanLanes(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.pipeline())
	s := x.stage("obs-correlate")
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = new(int32(2)) })
	x.eventually(func() error {
		if got := x.stage("obs-correlate").Status.ReadyWorkers; got != 2 {
			return fmt.Errorf("got %d ready workers, want 2", got)
		}
		return nil
	})
	c := x.condition(s, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	if want := "of 2 workers 1 stand by: there are no more lanes than 1"; !strings.Contains(c.Message, want) {
		t.Errorf("got %q, want %q", c.Message, want)
	}
	x.ready(s)
}

// TestChainedStages: one Deployment for the chain, no stream and no consumer inside it.
func TestChainedStages(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.pipeline()
	for i := 1; i < len(p.Spec.Stages); i++ {
		p.Spec.Stages[i].Placement = &v1alpha1.PlacementSpec{With: "validate"}
	}
	x.start(p)
	var deployments appsv1.DeploymentList
	if err := x.client.List(t.Context(), &deployments, inNamespace(x.ns)); err != nil {
		t.Fatal(err)
	}
	if len(deployments.Items) != 1 || deployments.Items[0].Name != "obs-validate" {
		t.Errorf("got %d Deployments, want that of validate", len(deployments.Items))
	}
	if x.hasStream(x.stream("validate")) || x.hasStream(x.stream("enrich")) || !x.hasStream(x.stream("correlate")) {
		t.Error("want streams for results alone")
	}
	s := x.stage("obs-enrich")
	if c := x.condition(s, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady); c.Message != "Chained with validate" {
		t.Errorf("got %q", c.Message)
	}
	if s.Status.Kind != "enrich" || s.Status.Lag != nil || len(s.Status.Consumers) != 0 || len(x.configMaps("enrich")) != 0 {
		t.Errorf("a chained stage has something of its own: %+v", s.Status)
	}

	// A reader outside needs the stream from now on, and the worker writes it.
	before := x.configMaps("validate")[0].Name
	a := x.attached("archive", "enrich")
	x.create(a)
	x.ready(a)
	x.eventually(func() error {
		if !x.hasStream(x.stream("enrich")) {
			return fmt.Errorf("enrich has no stream")
		}
		maps := x.configMaps("validate")
		if len(maps) != 1 || maps[0].Name == before || !strings.Contains(maps[0].Data["stage.json"], x.stream("enrich")) {
			return fmt.Errorf("the worker was not told of the stream of enrich")
		}
		return nil
	})
	x.ready(p)
}

func TestScalingAChildSurvives(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	s := x.stage("obs-validate")
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = new(int32(2)) })
	x.eventually(func() error {
		if got := x.stage("obs-validate").Status.ReadyWorkers; got != 2 {
			return fmt.Errorf("got %d ready workers, want 2", got)
		}
		return nil
	})
	// An edit of the Pipeline must not take the replicas back.
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules[0].Message = "other" })
	x.ready(p, s)
	if got := *x.deployment("obs-validate").Spec.Replicas; got != 2 {
		t.Errorf("got %d replicas, want 2", got)
	}
}

func TestSuspendAndResume(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true })
	x.condition(p, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	x.condition(x.stage("obs-validate"), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	x.eventually(func() error {
		if d := x.deployment("obs-validate"); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return fmt.Errorf("got %d replicas, %d are left", *d.Spec.Replicas, d.Status.Replicas)
		}
		return nil
	})
	if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte(`{}`)); err != nil {
		t.Errorf("a suspended pipeline goes on storing: %v", err)
	}
	if x.consumer(x.stream("raw"), x.durable("validate")) == nil {
		t.Error("the consumer is gone, and its position with it")
	}
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Suspend = false })
	x.ready(p)
	if got := x.stage("obs-validate").Status.ReadyWorkers; got != 1 {
		t.Errorf("after resume: got %d workers, want 1", got)
	}
}

func TestAttachedStage(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	a := x.attached("archive", "validate")
	x.create(a)
	x.ready(a, p)
	if c := x.consumer(x.stream("validate"), x.lane("archive", 0)); c == nil {
		t.Error("the attached stage has no consumer")
	}
	if !x.hasStream(x.stream("archive")) {
		t.Error("the attached stage has no stream for its output")
	}
	x.eventually(func() error {
		if got := x.thePipeline().Status.Stages; got != "2/2" {
			return fmt.Errorf("got stages %q, want 2/2", got)
		}
		return nil
	})

	bad := x.attached("bad", "nobody")
	x.create(bad)
	c := x.condition(bad, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	if !strings.Contains(c.Message, "spec.from[0]") || !strings.Contains(c.Message, "nobody") {
		t.Errorf("got %q, want the field and the name", c.Message)
	}
	x.condition(bad, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid)
	x.ready(a, p) // a bad neighbour harms nobody
	x.eventually(func() error {
		if c := x.condition(p, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted); !strings.Contains(c.Message, "bad") {
			return fmt.Errorf("got %q, want it to name the refused stage", c.Message)
		}
		return nil
	})

	x.delete(a)
	x.gone(a)
	if c := x.consumer(x.stream("validate"), x.lane("archive", 0)); c != nil {
		t.Error("the consumer of a deleted stage is still there")
	}
	if !x.hasStream(x.stream("archive")) {
		t.Error("the stream of a deleted stage is gone, and its data with it")
	}
	x.event("obs", v1alpha1.ReasonRetained, x.stream("archive"))
	x.ready(p)
}

func TestAttachedStageWaitsForItsPipeline(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	a := x.attached("archive", "validate")
	x.create(a)
	x.condition(a, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPipelineNotFound)
	x.start(x.small())
	x.ready(a)
}

func TestRemovedStage(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages = p.Spec.Stages[:3] })
	gone := &v1alpha1.Stage{ObjectMeta: x.named("obs-analyze")}
	x.gone(gone)
	x.event("obs", v1alpha1.ReasonDeleted, "obs-analyze")
	x.event("obs", v1alpha1.ReasonRetained, x.stream("analyze"))
	if x.consumer(x.stream("enrich"), x.lane("analyze", 7)) != nil {
		t.Error("the consumer of a removed stage is still there")
	}
	if !x.hasStream(x.stream("analyze")) {
		t.Error("the stream of a removed stage is gone, and its data with it")
	}
	x.ready(p)
}

func TestStageThatReadsElsewhereLeavesItsOldConsumer(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[3].From = []string{"validate"} })
	x.eventually(func() error {
		if x.consumer(x.stream("validate"), x.lane("analyze", 7)) == nil {
			return fmt.Errorf("no consumer on the new input")
		}
		if x.consumer(x.stream("enrich"), x.lane("analyze", 7)) != nil {
			return fmt.Errorf("the consumer on the old input is still there")
		}
		return nil
	})
	x.ready(p)
}

func TestRefusedGraphChangesNothing(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.pipeline())
	before := x.configMaps("validate")[0].Name
	// A cycle: what one object cannot tell by itself, the planner does.
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].From = []string{"validate", "analyze"} })
	c := x.condition(p, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	if !strings.Contains(c.Message, "spec.stages[") || !strings.Contains(c.Message, "cycle") {
		t.Errorf("got %q, want the field path and the word cycle", c.Message)
	}
	x.condition(p, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid)
	x.saying(x.stage("obs-validate"), v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "Pipeline obs is refused")
	x.ready(x.stage("obs-validate"))
	time.Sleep(2 * fresh)
	if maps := x.configMaps("validate"); len(maps) != 1 || maps[0].Name != before {
		t.Errorf("the ConfigMap changed")
	}
	if d := x.deployment("obs-validate"); d.Status.ReadyReplicas != 1 {
		t.Errorf("got %d ready workers, want 1: what runs goes on", d.Status.ReadyReplicas)
	}
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].From = []string{"validate"} })
	x.ready(p)
	if got := p.Status.Conditions; hasCondition(got, v1alpha1.ConditionStalled) {
		t.Errorf("Stalled is still there:%s", describe(got))
	}
}

func TestNewRefusedPipelineMakesNothing(t *testing.T) {
	x := newTenant(t)
	p := x.pipeline()
	p.Spec.Stages[1].From = []string{"analyze"}
	x.create(p)
	x.condition(p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	var stages v1alpha1.StageList
	if err := x.client.List(t.Context(), &stages, inNamespace(x.ns)); err != nil {
		t.Fatal(err)
	}
	if len(stages.Items) != 0 || x.hasStream(x.stream("raw")) {
		t.Error("a refused pipeline made something")
	}
}

func TestChildNameTakenByAnotherPipeline(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	taken := x.attached("obs-validate", "validate")
	taken.Spec.PipelineRef.Name = "other"
	x.create(taken)
	p := x.small()
	x.create(p)
	c := x.condition(p, v1alpha1.ConditionStagesReady, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	if !strings.Contains(c.Message, "obs-validate") || !strings.Contains(c.Message, "other") {
		t.Errorf("got %q, want both names", c.Message)
	}
	x.delete(taken)
	x.ready(p)
}

func TestPodsKeepTheRestrictedProfile(t *testing.T) {
	x := newTenant(t) // its namespace enforces the profile: a pod that breaks it is not admitted
	x.dropStreams()
	x.start(x.pipeline())
	for name, wantToken := range map[string]bool{"obs-validate": false, "obs-enrich": true} {
		spec := x.deployment(name).Spec.Template.Spec
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken != wantToken {
			t.Errorf("%s: got automountServiceAccountToken %v, want %v", name, spec.AutomountServiceAccountToken, wantToken)
		}
		if s := spec.Containers[0].SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: the root file system can be written", name)
		}
	}
	var pods corev1.PodList
	if err := x.client.List(t.Context(), &pods, inNamespace(x.ns)); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 4 {
		t.Errorf("got %d pods, want 4", len(pods.Items))
	}
}

func TestMembersThatAreRemovedGoFromTheChildToo(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.small()
	p.Spec.Stages = append(p.Spec.Stages, v1alpha1.PipelineStage{Name: "enrich", StageNode: v1alpha1.StageNode{
		From:    []string{"validate"},
		Workers: v1alpha1.WorkersSpec{NodeSelector: map[string]string{"kubernetes.io/os": "linux"}},
		Enrich: &v1alpha1.EnrichSpec{
			Trace:    &v1alpha1.EnrichTraceSpec{},
			Semantic: &v1alpha1.EnrichSemanticSpec{Rules: []v1alpha1.SemanticRule{{ID: "a", Type: "x", Class: "b", Category: "change"}}},
		},
	}})
	x.start(p)
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[1].Workers.NodeSelector = nil
		p.Spec.Stages[1].Enrich.Semantic.Rules = nil
	})
	x.eventually(func() error {
		spec := x.stage("obs-enrich").Spec
		if spec.Enrich.Semantic == nil || len(spec.Enrich.Semantic.Rules) != 0 || len(spec.Workers.NodeSelector) != 0 {
			return fmt.Errorf("got semantic %+v, node selector %v", spec.Enrich.Semantic, spec.Workers.NodeSelector)
		}
		return nil
	})
	x.ready(p)
}
