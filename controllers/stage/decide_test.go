package stage

import (
	"path/filepath"
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
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/stage/internal/decide"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
)

// compiler is what the Pipeline controller compiles with.
var compiler = revision.Settings{Version: "1", Image: "registry.example/millrace:1.0.0", ServiceAccount: "millrace-worker"}

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

// snap is the snapshot of a stage that has a revision, and of which nothing else exists yet.
func snap(t *testing.T, p *v1alpha1.Pipeline, stage *v1alpha1.Stage) *decide.Observed {
	t.Helper()
	s := &decide.Observed{Stage: stage, Scaling: &autoscale.Observed{Backend: autoscale.None{}}}
	compile(t, s, p)
	return s
}

// compile adds the revision of a manifest to the history of the stage.
func compile(t *testing.T, s *decide.Observed, p *v1alpha1.Pipeline) *revision.Revision {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	resolved := planner.Resolve(p, nil, nil)
	if len(resolved.Errors) > 0 {
		t.Fatal(resolved.Errors.ToAggregate())
	}
	node := resolved.Node(s.Stage)
	if node == nil {
		t.Fatalf("stage %s is not in the plan", s.Stage.Name)
	}
	made, marks, err := revision.Compile(revision.Source{
		Pipeline: p, Stage: s.Stage, Spec: graph.Spec(s.Stage, p), Node: node, Leases: resolved.Plan.Leases,
	}, compiler)
	if err != nil {
		t.Fatal(err)
	}
	return add(t, s, made, marks)
}

// add has the stage have one more revision, a minute after the one before.
func add(t *testing.T, s *decide.Observed, made revision.Content, marks revision.Marks) *revision.Revision {
	t.Helper()
	number := int64(len(s.History) + 1)
	object, err := revision.Object(s.Stage, nil, number, made, marks)
	if err != nil {
		t.Fatal(err)
	}
	object.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0).Add(time.Duration(number) * time.Minute))
	if s.Newest, err = revision.Decode(object); err != nil {
		t.Fatal(err)
	}
	s.History = append(s.History, s.Newest)
	s.Intake.Inputs = nil
	for _, in := range s.Newest.Inputs {
		input := intake.Input{Stream: in.Stream, Durable: in.Durable}
		for _, want := range in.Lanes {
			input.Lanes = append(input.Lanes, intake.Lane{Want: want})
		}
		s.Intake.Inputs = append(s.Intake.Inputs, input)
	}
	return s.Newest
}

// mounting is a Deployment of the stage whose pods mount a ConfigMap.
func mounting(configMap string) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}},
	}}}
	return d
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
			in := decide.Decide(snap(t, pipeline(test.change), child(test.stage)), "")
			got := document(t, in.Workers.Config) + "---\n" + document(t, in.Workers.Deployment)
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
			if got := decide.Decide(s, "").Workers.Replicas; got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestDecideConsumers(t *testing.T) {
	ours := map[string]string{jetstream.MetadataPipeline: "shop/obs"}
	tests := map[string]struct {
		lane   func(*intake.Lane)
		action jetstream.Action
		waits  bool
	}{
		"new":            {func(l *intake.Lane) { l.Source = stream(ours) }, jetstream.ActionCreate, false},
		"stream missing": {func(*intake.Lane) {}, jetstream.ActionCreate, true},
		"foreign stream": {func(l *intake.Lane) { l.Source = stream(nil) }, jetstream.ActionNotOwned, false},
		"foreign consumer": {func(l *intake.Lane) {
			l.Have = &jetstream.Consumer{Config: api.ConsumerConfig{Durable: l.Want.Durable}}
		}, jetstream.ActionNotOwned, false},
		"as wanted": {func(l *intake.Lane) {
			l.Have = &jetstream.Consumer{Config: jetstream.ConsumerConfig(l.Want, access.StageOwner(child("validate"), ""))}
		}, jetstream.ActionNone, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline(nil), child("validate"))
			test.lane(&s.Intake.Inputs[0].Lanes[0])
			got := decide.Decide(s, "").Consumers
			if len(got) != 1 || got[0].Action != test.action || got[0].StreamMissing != test.waits {
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
	in := decide.Decide(snap(t, p, child("validate")), "")
	c, err := config.Parse([]byte(in.Workers.Config.Data[revision.ConfigKey]))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Chain) != 1 || c.Chain[0].Stage != "enrich" || c.Chain[0].Enrich == nil {
		t.Errorf("got chain %+v, want enrich", c.Chain)
	}
	spec := in.Workers.Deployment.Spec.Template.Spec
	if !*spec.AutomountServiceAccountToken || *spec.ServiceAccountName != compiler.ServiceAccount {
		t.Error("enrich reads the cluster, but the pods that it runs in cannot")
	}

	stage := child("enrich")
	stage.Spec.Replicas = new(int32(3))
	s := snap(t, p, stage)
	stage.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, Message: "spec is valid"}}
	in = decide.Decide(s, "")
	if in.Workers != nil || len(in.Consumers) > 0 {
		t.Errorf("got workers %v and consumers %v, want none", in.Workers, in.Consumers)
	}
	setStatus(&stage.Status, report{seen: s, intent: in}, time.Unix(1_700_000_000, 0))
	got := map[string]string{}
	for _, c := range stage.Status.Conditions {
		got[c.Type] = string(c.Status) + " " + c.Reason + ": " + c.Message
	}
	want := map[string]string{
		"Accepted":         "True Accepted: spec is valid",
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
	lanes := s.Intake.Inputs[0].Lanes
	for i := range lanes {
		lanes[i].Have = &jetstream.Consumer{
			Config:  jetstream.ConsumerConfig(lanes[i].Want, access.StageOwner(s.Stage, "")),
			Pending: 2, AckPending: uint64(i), Redelivered: 1,
		}
		lanes[i].Lag = jetstream.Lag{Events: 10, Oldest: now.Add(-time.Duration(i) * time.Second)}
		done.consumers[key(lanes[i].Want.Stream, lanes[i].Want.Durable)] = lanes[i].Have
	}
	var got v1alpha1.StageStatus
	setLag(&got, report{seen: s, intent: decide.Decide(s, ""), done: done}, now)
	want := v1alpha1.StageStatus{
		Lag: new(int64(80)), LagSeconds: new(int64(7)),
		Consumers: []v1alpha1.ConsumerStatus{{
			Stream: "SHOP_OBS_VALIDATE", Name: "shop-obs-enrich_lane", Lanes: 8, Pending: 16, AckPending: 28, Redelivered: 8,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	names := intake.Durables(got.Consumers[0])
	var planned []string
	for _, c := range s.Newest.Consumers() {
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
	current := s.Newest.ConfigMap
	s.ConfigMaps = []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, {ObjectMeta: metav1.ObjectMeta{Name: current}}}
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
			s.Deployment = mounting(test.mounts)
			s.Deployment.Generation, s.Deployment.Status = 2, test.status
			if got := decide.Decide(s, "").Prune; len(got) != test.want {
				t.Errorf("got %d to delete, want %d", len(got), test.want)
			}
		})
	}
}
