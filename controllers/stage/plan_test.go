package stage

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jsm.go/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
)

var settings = Settings{Image: "registry.example/millrace:1.0.0", ServiceAccount: "millrace-worker"}

func pipeline(change func(*v1alpha1.Pipeline)) *v1alpha1.Pipeline {
	p := &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs", UID: "pipeline-uid", Generation: 1},
		Spec: v1alpha1.PipelineSpec{Stages: []v1alpha1.PipelineStage{
			{Name: "validate", StageNode: v1alpha1.StageNode{
				From:     []string{"ingress"},
				Validate: &v1alpha1.ValidateSpec{Rules: []v1alpha1.ValidateRule{{Expression: "event.id != ''", Message: "id must be set"}}},
			}},
			{Name: "enrich", StageNode: v1alpha1.StageNode{
				From: []string{"validate"}, Enrich: &v1alpha1.EnrichSpec{Kubernetes: &v1alpha1.EnrichKubernetesSpec{}},
				Workers: v1alpha1.WorkersSpec{Min: new(int32(3))},
			}},
			{Name: "correlate", StageNode: v1alpha1.StageNode{
				From: []string{"enrich"}, Correlate: &v1alpha1.CorrelateSpec{Realtime: &v1alpha1.RealtimeSpec{}},
			}},
		}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func child(name string) *v1alpha1.Stage {
	return &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "obs-" + name, UID: "stage-uid",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
			}},
		},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: name},
	}
}

// snap is the snapshot of a stage of which nothing exists yet.
func snap(t *testing.T, p *v1alpha1.Pipeline, stage *v1alpha1.Stage) *snapshot {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	s := &snapshot{stage: stage, pipeline: p, resolved: planner.Resolve(p, nil)}
	if len(s.resolved.Errors) > 0 {
		t.Fatal(s.resolved.Errors.ToAggregate())
	}
	if s.node = s.resolved.Node(stage); s.node == nil {
		t.Fatalf("stage %s is not in the plan", stage.Name)
	}
	return s
}

func TestWorkersGolden(t *testing.T) {
	tests := map[string]struct {
		stage  string
		change func(*v1alpha1.Pipeline)
	}{
		"plain":         {stage: "validate"},
		"one-lane":      {stage: "correlate"},
		"reads-cluster": {stage: "enrich"},
		"suspended":     {stage: "validate", change: func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true }},
		"all-settings": {stage: "validate", change: func(p *v1alpha1.Pipeline) {
			p.Spec.NATS = &v1alpha1.NATSSpec{URL: "tls://nats.example:4222", CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-user", Key: "worker.creds"}}
			p.Spec.Stages[0].Workers = v1alpha1.WorkersSpec{
				Min: new(int32(2)), DrainTimeout: &metav1.Duration{Duration: 90 * time.Second},
				Resources: v1alpha1.ResourcesSpec{
					Limits:   corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("512Mi")},
					Requests: corev1.ResourceList{"cpu": resource.MustParse("0.5")},
				},
				NodeSelector: map[string]string{"pool": "events"}, ServiceAccountName: "mine", Image: "registry.example/mine:2",
			}
		}},
		"own-user": {stage: "validate", change: func(p *v1alpha1.Pipeline) {
			p.Spec.NATS = &v1alpha1.NATSSpec{
				CredentialsType:      v1alpha1.CredentialsPassword,
				CredentialsSecretRef: &v1alpha1.SecretKeyRef{Name: "nats-operator"},
				TLS: &v1alpha1.TLSSpec{
					CA:               &v1alpha1.CASpec{Kind: v1alpha1.CAConfigMap, SecretKeyRef: v1alpha1.SecretKeyRef{Name: "trust", Key: "bundle.pem"}},
					ClientSecretName: "nats-client",
				},
			}
			p.Spec.Stages[0].Workers.NATSSecretName = "nats-validate"
		}},
		"own-nkey": {stage: "validate", change: func(p *v1alpha1.Pipeline) {
			p.Spec.NATS = &v1alpha1.NATSSpec{CredentialsType: v1alpha1.CredentialsNKey}
			p.Spec.Stages[0].Workers.NATSSecretName = "nats-validate"
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in, err := decide(snap(t, pipeline(test.change), child(test.stage)), settings)
			if err != nil {
				t.Fatal(err)
			}
			got := document(t, in.workers.config) + "---\n" + document(t, in.workers.deployment)
			golden.Check(t, filepath.Join("testdata", name+".yaml"), got)
		})
	}
}

func document(t *testing.T, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRevisionFollowsConfigAndPods(t *testing.T) {
	name := func(change func(*v1alpha1.Pipeline), s Settings) string {
		in, err := decide(snap(t, pipeline(change), child("validate")), s)
		if err != nil {
			t.Fatal(err)
		}
		return *in.workers.config.Name
	}
	base := name(nil, settings)
	if !strings.HasPrefix(base, "obs-validate-") {
		t.Errorf("got %s, want the stage's name in it", base)
	}
	same := map[string]string{
		"rules":         name(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules[0].Message = "other" }, settings),
		"replicas":      name(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.Min = new(int32(5)) }, settings),
		"suspend":       name(func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true }, settings),
		"stream limits": name(func(p *v1alpha1.Pipeline) { p.Spec.Streams.MaxBytes = new(resource.MustParse("1Gi")) }, settings),
	}
	for what, got := range same {
		if got != base {
			t.Errorf("%s: got another ConfigMap, and so a rollout", what)
		}
	}
	other := map[string]string{
		"config":  name(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{} }, settings),
		"pods":    name(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.NodeSelector = map[string]string{"a": "b"} }, settings),
		"restart": name(func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "1"} }, settings),
	}
	for what, got := range other {
		if got == base {
			t.Errorf("%s: got the same ConfigMap, and so no rollout", what)
		}
	}
}

// TestTokensOnlyWhereTheClusterIsRead: a worker without a need has no token to lose.
func TestTokensOnlyWhereTheClusterIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		enrich v1alpha1.EnrichSpec
		want   bool
	}{
		"kubernetes":         {v1alpha1.EnrichSpec{Kubernetes: &v1alpha1.EnrichKubernetesSpec{}}, true},
		"impact":             {v1alpha1.EnrichSpec{Impact: &v1alpha1.EnrichImpactSpec{}}, true},
		"semantic and trace": {v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}, Trace: &v1alpha1.EnrichTraceSpec{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Enrich = &test.enrich })
			if got := snap(t, p, child("enrich")).node.Config.ReadsCluster(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if got := snap(t, p, child("validate")).node.Config.ReadsCluster(); got {
				t.Error("validate has a token")
			}
		})
	}
}

func TestReplicas(t *testing.T) {
	tests := map[string]struct {
		stage     string
		asked     *int32
		suspended bool
		want      int32
	}{
		"from the spec":         {"enrich", nil, false, 3},
		"scaled":                {"enrich", new(int32(7)), false, 7},
		"scaled to zero":        {"enrich", new(int32(0)), false, 0},
		"suspended":             {"enrich", new(int32(7)), true, 0},
		"more than lanes":       {"correlate", new(int32(7)), false, 7},
		"default of validation": {"validate", nil, false, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stage := child(test.stage)
			stage.Spec.Replicas = test.asked
			s := snap(t, pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Suspend = test.suspended }), stage)
			if got := replicas(stage, s.node); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestDecideConsumers(t *testing.T) {
	ours := map[string]string{jetstream.MetadataPipeline: "shop/obs"}
	tests := map[string]struct {
		input  func(*input)
		action jetstream.Action
		waits  bool
	}{
		"new":            {func(in *input) { in.stream = stream(ours) }, jetstream.ActionCreate, false},
		"stream missing": {func(*input) {}, jetstream.ActionCreate, true},
		"foreign stream": {func(in *input) { in.stream = stream(nil) }, jetstream.ActionNotOwned, false},
		"foreign consumer": {func(in *input) {
			in.have = &jetstream.Consumer{Config: api.ConsumerConfig{Durable: in.want.Durable}}
		}, jetstream.ActionNotOwned, false},
		"as wanted": {func(in *input) {
			in.have = &jetstream.Consumer{Config: jetstream.ConsumerConfig(in.want, access.StageOwner(child("validate"), ""))}
		}, jetstream.ActionNone, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline(nil), child("validate"))
			in := input{want: s.node.Consumers[0]}
			test.input(&in)
			s.inputs = []input{in}
			got := decideConsumers(s, "")
			if len(got) != 1 || got[0].Action != test.action || got[0].streamMissing != test.waits {
				t.Errorf("got %+v, want %s, stream missing %v", got, test.action, test.waits)
			}
		})
	}
}

// TestChainedStage: its head mounts its config and does for it what it needs; the stage itself
// has neither consumers nor workers, and is ready.
func TestChainedStage(t *testing.T) {
	p := pipeline(func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[1].Placement = &v1alpha1.PlacementSpec{With: "validate"}
		p.Spec.Stages[1].Workers = v1alpha1.WorkersSpec{}
	})
	in, err := decide(snap(t, p, child("validate")), settings)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse([]byte(in.workers.config.Data[configKey]))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Chain) != 1 || c.Chain[0].Stage != "enrich" || c.Chain[0].Enrich == nil {
		t.Errorf("got chain %+v, want enrich", c.Chain)
	}
	spec := in.workers.deployment.Spec.Template.Spec
	if !*spec.AutomountServiceAccountToken || *spec.ServiceAccountName != settings.ServiceAccount {
		t.Error("enrich reads the cluster, but the pods that it runs in cannot")
	}

	stage := child("enrich")
	stage.Spec.Replicas = new(int32(3))
	s := snap(t, p, stage)
	in, err = decide(s, settings)
	if err != nil {
		t.Fatal(err)
	}
	if in.workers != nil || len(in.consumers) > 0 {
		t.Errorf("got workers %v and consumers %v, want none", in.workers, in.consumers)
	}
	setStatus(&stage.Status, report{seen: s, intent: in}, time.Unix(1_700_000_000, 0))
	got := map[string]string{}
	for _, c := range stage.Status.Conditions {
		got[c.Type] = string(c.Status) + " " + c.Reason + ": " + c.Message
	}
	want := map[string]string{
		"Accepted":         "True Accepted: the spec makes sense; spec.replicas is ignored: the stage runs in the workers of validate",
		"ConsumersReady":   "True Ready: Chained with validate: takes events in memory, without consumers",
		"WorkersAvailable": "True Ready: Chained with validate: runs in its workers",
		"Ready":            "True Ready: Chained with validate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStatusSumsUpLanes(t *testing.T) {
	s := snap(t, pipeline(nil), child("enrich"))
	now := time.Unix(1_700_000_000, 0)
	done := outcome{consumers: map[string]*jetstream.Consumer{}}
	for lane, want := range s.node.Consumers {
		in := input{want: want, have: &jetstream.Consumer{
			Config:  jetstream.ConsumerConfig(want, access.StageOwner(s.stage, "")),
			Pending: 2, AckPending: uint64(lane), Redelivered: 1,
		}, lag: jetstream.Lag{Events: 10, Oldest: now.Add(-time.Duration(lane) * time.Second)}}
		s.inputs = append(s.inputs, in)
		done.consumers[key(want.Stream, want.Durable)] = in.have
	}
	var got v1alpha1.StageStatus
	setLag(&got, report{seen: s, intent: intent{consumers: decideConsumers(s, "")}, done: done}, now)
	want := v1alpha1.StageStatus{
		Lag: new(int64(80)), LagSeconds: new(int64(7)),
		Consumers: []v1alpha1.ConsumerStatus{{
			Stream: "SHOP_OBS_VALIDATE", Name: "shop-obs-enrich_lane", Lanes: 8, Pending: 16, AckPending: 28, Redelivered: 8,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, d := range durablesOf(got.Consumers[0]) {
		names = append(names, d.name)
	}
	var planned []string
	for _, c := range s.node.Consumers {
		planned = append(planned, c.Durable)
	}
	if diff := cmp.Diff(planned, names); diff != "" {
		t.Errorf("consumers that a later look finds (-planned +found)\n%s", diff)
	}
	if got, want := list(names), "shop-obs-enrich_lane-0 to shop-obs-enrich_lane-7 (8)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := few([]string{"a", "a", "b", "c", "d", "e", "f"}), "a; b; c; d; and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func stream(metadata map[string]string) *jetstream.Stream {
	return &jetstream.Stream{Config: api.StreamConfig{Metadata: metadata}}
}

func TestOldConfigMapsGoOnlyAfterTheRollout(t *testing.T) {
	s := snap(t, pipeline(nil), child("validate"))
	in, err := decide(s, settings)
	if err != nil {
		t.Fatal(err)
	}
	current := *in.workers.config.Name
	s.configMaps = []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, {ObjectMeta: metav1.ObjectMeta{Name: current}}}
	done := appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1}
	tests := map[string]struct {
		mounts string
		status appsv1.DeploymentStatus
		want   int
	}{
		"through":              {current, done, 1},
		"not yet observed":     {current, appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1}, 0},
		"old pods are left":    {current, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 1}, 0},
		"old pods still drain": {current, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, TerminatingReplicas: new(int32(1))}, 0},
		"not yet applied":      {"old", done, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: test.status}
			s.deployment.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: configVolume, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: test.mounts}},
			}}}
			if got := decidePrune(s, current); len(got) != test.want {
				t.Errorf("got %d to delete, want %d", len(got), test.want)
			}
		})
	}
}

// TestRevisionAcrossReleases: whose revision the workers are of.
func TestRevisionAcrossReleases(t *testing.T) {
	first, second := settings, settings
	first.Version, second.Version, second.Image = "1", "2", "registry.example/millrace:2.0.0"
	rules := func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules[0].Message = "other" }
	edited := func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{}; p.Generation++ }
	tests := map[string]struct {
		by      Settings
		change  func(*v1alpha1.Pipeline)
		damage  func(*corev1.ConfigMap)
		kept    bool
		earlier bool
	}{
		"the same release":                    {by: first, kept: true},
		"the same release, an edit":           {by: first, change: edited},
		"the same release, an edit of rules":  {by: first, change: rules, kept: true},
		"another release":                     {by: second, kept: true, earlier: true},
		"another release, an edit meanwhile":  {by: second, change: edited},
		"another release, a restart":          {by: second, change: func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "1"} }},
		"another release, a revision damaged": {by: second, damage: func(c *corev1.ConfigMap) { c.Data[configKey] = "{}" }},
		"another release, an edit of another stage": {
			by: second, kept: false,
			change: func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers.Min = new(int32(5)); p.Generation++ },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			stage := child("validate")
			made, err := decide(snap(t, pipeline(nil), stage), first)
			if err != nil {
				t.Fatal(err)
			}
			live := liveConfig(made)
			if tc.damage != nil {
				tc.damage(&live)
			}
			stage.Status.Revision = live.Name
			s := snap(t, pipeline(tc.change), stage)
			s.configMaps = []corev1.ConfigMap{live}
			in, err := decide(s, tc.by)
			if err != nil {
				t.Fatal(err)
			}
			if got := *in.workers.config.Name == live.Name; got != tc.kept || in.workers.earlier != tc.earlier {
				t.Fatalf("kept %t as of an earlier release %t, want %t %t", got, in.workers.earlier, tc.kept, tc.earlier)
			}
			image := *in.workers.deployment.Spec.Template.Spec.Containers[0].Image
			if want := tc.by.Image; !tc.kept && image != want || tc.kept && image != first.Image {
				t.Errorf("got image %s", image)
			}
			// The next look finds what this one noted.
			s.configMaps = append(s.configMaps, liveConfig(in))
			stage.Status.Revision = *in.workers.config.Name
			again, err := decide(s, tc.by)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in.workers.config, again.workers.config); diff != "" {
				t.Errorf("a second look wants something else (-first +second):\n%s", diff)
			}
		})
	}
}

// liveConfig is the ConfigMap that an intent makes.
func liveConfig(in intent) corev1.ConfigMap {
	c := in.workers.config
	return corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: *c.Namespace, Name: *c.Name, Annotations: maps.Clone(c.Annotations)},
		Data:       maps.Clone(c.Data),
	}
}
