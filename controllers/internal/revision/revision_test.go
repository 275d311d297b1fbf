package revision_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/workers/config"
)

var settings = revision.Settings{Version: "1", Image: "registry.example/millrace:1.0.0", ServiceAccount: "millrace-worker"}

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
			Namespace: "shop", Name: "obs-" + name, UID: "stage-uid", Generation: 1,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
			}},
		},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: name},
	}
}

// compile is what an operator makes of a stage of a manifest.
func compile(t *testing.T, p *v1alpha1.Pipeline, stage *v1alpha1.Stage, by revision.Settings) (revision.Content, revision.Marks) {
	t.Helper()
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	resolved := planner.Resolve(p, nil, nil)
	if len(resolved.Errors) > 0 {
		t.Fatal(resolved.Errors.ToAggregate())
	}
	c, marks, err := revision.Compile(revision.Source{
		Pipeline: p, Stage: stage, Spec: graph.Spec(stage, p), Node: resolved.Node(stage), Leases: resolved.Plan.Leases,
	}, by)
	if err != nil {
		t.Fatal(err)
	}
	return c, marks
}

// written is a revision as the API server has it.
func written(t *testing.T, number int64, c revision.Content, marks revision.Marks) *revision.Revision {
	t.Helper()
	object, err := revision.Object(child("validate"), nil, number, c, marks)
	if err != nil {
		t.Fatal(err)
	}
	r, err := revision.Decode(object)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWhatIsWrittenIsRead: all of a content outlives the API server.
func TestWhatIsWrittenIsRead(t *testing.T) {
	c, marks := compile(t, pipeline(nil), child("enrich"), settings)
	got := written(t, 3, c, marks)
	before, _ := c.Hash()
	after, _ := got.Hash()
	if before != after || got.Number != 3 || got.Marks != marks {
		t.Errorf("got revision %d %s with %+v, want 3 %s with %+v", got.Number, after, got.Marks, before, marks)
	}
	if diff := cmp.Diff(c.Inputs, got.Inputs); diff != "" {
		t.Error(diff)
	}
	if len(got.Inputs[0].Lanes) != got.Lanes || got.Lanes != 8 {
		t.Errorf("got %d consumers in %d lanes", len(got.Inputs[0].Lanes), got.Lanes)
	}
}

// TestWhatRollsWorkers: the ConfigMap and the Deployment of workers are others only where the workers have to be.
func TestWhatRollsWorkers(t *testing.T) {
	base, _ := compile(t, pipeline(nil), child("validate"), settings)
	traced := settings
	traced.Tracing = revision.Tracing{Endpoint: "http://otel:4318", Protocol: "http/protobuf", SampleRatio: 0.0005}
	for name, test := range map[string]struct {
		change func(*v1alpha1.Pipeline)
		by     revision.Settings
		// rolls: the workers are replaced. same: nothing at all changes.
		rolls, same bool
	}{
		"nothing":       {nil, settings, false, true},
		"rules":         {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules[0].Message = "other" }, settings, false, false},
		"replicas":      {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.Min = new(int32(5)) }, settings, false, false},
		"max":           {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.Max = 5 }, settings, false, false},
		"suspend":       {func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true }, settings, false, false},
		"stream limits": {func(p *v1alpha1.Pipeline) { p.Spec.Streams.MaxBytes = new(resource.MustParse("1Gi")) }, settings, false, true},
		"another stage": {func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers.Min = new(int32(5)) }, settings, false, true},
		"config":        {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{} }, settings, true, false},
		"pods":          {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.NodeSelector = map[string]string{"a": "b"} }, settings, true, false},
		"restart":       {func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "1"} }, settings, true, false},
		"tracing":       {nil, traced, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := compile(t, pipeline(test.change), child("validate"), test.by)
			if rolls := got.ConfigMap != base.ConfigMap || string(got.Deployment) != string(base.Deployment); rolls != test.rolls {
				t.Errorf("the workers are replaced: %t, want %t", rolls, test.rolls)
			}
			hash, _ := got.Hash()
			before, _ := base.Hash()
			if (hash == before) != test.same {
				t.Errorf("the revision is the same: %t, want %t", hash == before, test.same)
			}
		})
	}
}

// TestRestartOfOneStage: asking the Pipeline and then, with the same value, one of its stages asks twice.
func TestRestartOfOneStage(t *testing.T) {
	asked := map[string]string{v1alpha1.AnnotationRestart: "monday"}
	all, _ := compile(t, pipeline(func(p *v1alpha1.Pipeline) { p.Annotations = asked }), child("validate"), settings)
	one := child("validate")
	one.Annotations = asked
	alone, _ := compile(t, pipeline(nil), one, settings)
	if string(all.Deployment) == string(alone.Deployment) {
		t.Error("nothing restarts when the value moves from the Pipeline to the Stage")
	}
}

// TestTracing: workers get the variables of OpenTelemetry when there is an endpoint, and no others; the config does not change.
func TestTracing(t *testing.T) {
	traced := settings
	traced.Tracing = revision.Tracing{Endpoint: "http://otel:4318", Protocol: "http/protobuf", SampleRatio: 0.0005}
	plain, _ := compile(t, pipeline(nil), child("validate"), settings)
	for name, c := range map[string]struct {
		settings revision.Settings
		want     []string
	}{
		"off": {settings, nil},
		"on": {traced, []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://otel:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.0005",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			made, _ := compile(t, pipeline(nil), child("validate"), c.settings)
			spec, err := made.Spec()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range spec.Template.Spec.Containers[0].Env {
				if strings.HasPrefix(*v.Name, "OTEL_") {
					got = append(got, *v.Name+"="+*v.Value)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if string(made.Config) != string(plain.Config) {
				t.Error("the config is another one")
			}
		})
	}
}

// TestTokensOnlyWhereTheClusterIsRead: a worker without a need has no token to lose.
func TestTokensOnlyWhereTheClusterIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		stage  string
		enrich v1alpha1.EnrichSpec
		want   bool
	}{
		"kubernetes":         {"enrich", v1alpha1.EnrichSpec{Kubernetes: &v1alpha1.EnrichKubernetesSpec{}}, true},
		"impact":             {"enrich", v1alpha1.EnrichSpec{Impact: &v1alpha1.EnrichImpactSpec{}}, true},
		"semantic and trace": {"enrich", v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}, Trace: &v1alpha1.EnrichTraceSpec{}}, false},
		"validate":           {"validate", v1alpha1.EnrichSpec{Kubernetes: &v1alpha1.EnrichKubernetesSpec{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := compile(t, pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Enrich = &test.enrich }), child(test.stage), settings)
			spec, err := c.Spec()
			if err != nil {
				t.Fatal(err)
			}
			pod := spec.Template.Spec
			if *pod.AutomountServiceAccountToken != test.want || (pod.ServiceAccountName != nil) != test.want {
				t.Errorf("a token is mounted: %t, want %t", *pod.AutomountServiceAccountToken, test.want)
			}
		})
	}
}

// TestSecretsOfAStage: workers find what their stage needs under the name of the Secret.
func TestSecretsOfAStage(t *testing.T) {
	p, stage := pipeline(nil), child("validate")
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	resolved := planner.Resolve(p, nil, nil)
	node := *resolved.Node(stage)
	node.Secrets = []config.SecretFile{{Name: "database", Key: "password", File: "database/password"}}
	made, _, err := revision.Compile(revision.Source{Pipeline: p, Stage: stage, Spec: graph.Spec(stage, p), Node: &node, Leases: resolved.Plan.Leases}, settings)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := made.Spec()
	if err != nil {
		t.Fatal(err)
	}
	pod := spec.Template.Spec
	var items, mounts []string
	for _, v := range pod.Volumes {
		if *v.Name == "secrets" {
			for _, source := range v.Projected.Sources {
				items = append(items, *source.Secret.Name+" "+*source.Secret.Items[0].Key+" "+*source.Secret.Items[0].Path)
			}
		}
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if *m.Name == "secrets" {
			mounts = append(mounts, *m.MountPath)
		}
	}
	if !cmp.Equal(items, []string{"database password database/password"}) || !cmp.Equal(mounts, []string{"/etc/millrace-secrets"}) {
		t.Errorf("got %q mounted at %q", items, mounts)
	}
}

// TestModelsOfAStage: workers find the models of their stage under the name of the ConfigMap.
func TestModelsOfAStage(t *testing.T) {
	p, stage := pipeline(nil), child("validate")
	planner, err := graph.NewPlanner(config.NATS{URL: "nats://nats:4222"})
	if err != nil {
		t.Fatal(err)
	}
	resolved := planner.Resolve(p, nil, nil)
	node := *resolved.Node(stage)
	node.Models = []config.ModelFile{config.NewModelFile("models", "risk.txt")}
	made, _, err := revision.Compile(revision.Source{Pipeline: p, Stage: stage, Spec: graph.Spec(stage, p), Node: &node, Leases: resolved.Plan.Leases}, settings)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := made.Spec()
	if err != nil {
		t.Fatal(err)
	}
	pod := spec.Template.Spec
	var items, mounts []string
	for _, v := range pod.Volumes {
		if *v.Name == "models" {
			for _, source := range v.Projected.Sources {
				items = append(items, *source.ConfigMap.Name+" "+*source.ConfigMap.Items[0].Key+" "+*source.ConfigMap.Items[0].Path)
			}
		}
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if *m.Name == "models" {
			mounts = append(mounts, *m.MountPath)
		}
	}
	if args := pod.Containers[0].Args; !slices.Equal(args[len(args)-2:], []string{"--model-files", "/etc/millrace-models"}) {
		t.Errorf("the worker is told %q", args)
	}
	if !cmp.Equal(items, []string{"models risk.txt models/risk.txt"}) || !cmp.Equal(mounts, []string{"/etc/millrace-models"}) || len(made.Secrets) != 0 {
		t.Errorf("got %q mounted at %q, and the Secrets %q", items, mounts, made.Secrets)
	}
}

// TestAcrossReleases: which revision a stage has after a look of an operator.
func TestAcrossReleases(t *testing.T) {
	first, second := settings, settings
	second.Version, second.Image = "2", "registry.example/millrace:2.0.0"
	dedupe := func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{}; p.Generation++ }
	restart := func(p *v1alpha1.Pipeline) { p.Annotations = map[string]string{v1alpha1.AnnotationRestart: "1"} }
	other := func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers.Min = new(int32(5)); p.Generation++ }
	for name, test := range map[string]struct {
		by     revision.Settings
		change func(*v1alpha1.Pipeline)
		writes bool
	}{
		"the same release":                          {first, nil, false},
		"the same release, an edit":                 {first, dedupe, true},
		"the same release, an edit of another":      {first, other, false},
		"the same release, a restart":               {first, restart, true},
		"another release":                           {second, nil, false},
		"another release, an edit meanwhile":        {second, dedupe, true},
		"another release, an edit of another":       {second, other, true},
		"another release, a restart":                {second, restart, true},
		"another release that makes the same of it": {revision.Settings{Version: "3", Image: first.Image, ServiceAccount: first.ServiceAccount}, other, false},
	} {
		t.Run(name, func(t *testing.T) {
			made, marks := compile(t, pipeline(nil), child("validate"), first)
			history := revision.History{written(t, 1, made, marks)}
			made, marks = compile(t, pipeline(test.change), child("validate"), test.by)
			step := revision.Next(history, 0, nil, made, marks)
			if got := len(step.Write) > 0; got != test.writes {
				t.Fatalf("writes a revision: %t, want %t", got, test.writes)
			}
			switch {
			case test.writes:
				if step.Write[0].Number != 2 {
					t.Errorf("got number %d", step.Write[0].Number)
				}
				history = append(history, written(t, 2, step.Write[0].Content, step.Write[0].Marks))
			case step.Mark != nil:
				history[0].Marks = step.Marks
			}
			if again := revision.Next(history, 0, nil, made, marks); len(again.Write) > 0 || again.Mark != nil {
				t.Errorf("a second look wants something else: %+v", again)
			}
		})
	}
}

// setFields has the operator own all of a Deployment's spec, but for lists that have other keys than a name.
func setFields(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"spec": d.Spec})
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	fields, err := json.Marshal(owned(spec))
	if err != nil {
		t.Fatal(err)
	}
	d.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "millrace-operator", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields)),
	}}
}

// owned is a value as the API server writes down who has set it.
func owned(value any) map[string]any {
	fields := map[string]any{}
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			if !slices.Contains([]string{"ports", "volumeMounts", "topologySpreadConstraints"}, key) {
				fields["f:"+key] = owned(v)
			}
			if slices.Contains([]string{"selector", "fieldRef", "secretKeyRef"}, key) { // atomic
				fields["f:"+key] = map[string]any{}
			}
		}
	case []any:
		for _, v := range value {
			if element, ok := v.(map[string]any); ok && element["name"] != nil {
				item := owned(v)
				item["."] = map[string]any{}
				fields[fmt.Sprintf(`k:{"name":%q}`, element["name"])] = item
			}
		}
	}
	return fields
}

// adoptable are workers as an operator without revisions made them.
func adoptable(t *testing.T, c revision.Content, marks revision.Marks) (*appsv1.Deployment, *corev1.ConfigMap) {
	t.Helper()
	spec, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	d.Name, d.Namespace, d.Spec.Replicas = "obs-validate", "shop", new(int32(4))
	setFields(t, &d)
	return &d, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: c.ConfigMap, Annotations: marks.Annotations()},
		Data:       map[string]string{revision.ConfigKey: string(c.Config)},
	}
}

// TestAdopt: workers of an operator that had no revisions become the first one. They stay while the manifests are the same, and
// are what reads the former inputs when those have changed.
func TestAdopt(t *testing.T) {
	old := settings
	old.Version = "0"
	made, marks := compile(t, pipeline(nil), child("validate"), settings)
	for name, test := range map[string]struct {
		change func(*v1alpha1.Pipeline)
		writes int
	}{
		"the manifests are the same": {nil, 1},
		"an edit meanwhile":          {func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{}; p.Generation++ }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			before, noted := compile(t, pipeline(nil), child("validate"), old)
			deployment, configMap := adoptable(t, before, noted)
			now, marks := compile(t, pipeline(test.change), child("validate"), settings)
			adopted, err := revision.Adopt(now, deployment, configMap, "millrace-operator")
			if err != nil || adopted == nil {
				t.Fatalf("got %v and %v", adopted, err)
			}
			step := revision.Next(nil, 0, adopted, now, marks)
			if len(step.Write) != test.writes {
				t.Fatalf("got %d revisions, want %d", len(step.Write), test.writes)
			}
			first := step.Write[0].Content
			if first.ConfigMap != before.ConfigMap || string(first.Config) != string(before.Config) || !cmp.Equal(first.Inputs, before.Inputs) {
				t.Errorf("the first revision is not what runs: %+v", first)
			}
			spec, err := first.Spec()
			if err != nil {
				t.Fatal(err)
			}
			if spec.Replicas != nil || len(spec.Template.Spec.Volumes) != 2 || *spec.Template.Spec.Containers[0].Image != old.Image {
				t.Errorf("got %+v, want the workers as they are, without their number", spec)
			}
			if again := revision.Next(revision.History{written(t, 1, first, step.Write[0].Marks)}, 0, nil, now, marks); test.writes == 1 && len(again.Write) > 0 {
				t.Error("a second look makes another one")
			}
		})
	}
	deployment, configMap := adoptable(t, made, marks)
	for name, change := range map[string]func(){
		"the config is broken": func() { configMap.Data[revision.ConfigKey] = "{" },
		"the config is gone":   func() { configMap.Data = nil },
		"nobody applied it":    func() { deployment.ManagedFields = nil },
	} {
		deployment, configMap = adoptable(t, made, marks)
		change()
		if adopted, err := revision.Adopt(made, deployment, configMap, "millrace-operator"); err != nil || adopted != nil {
			t.Errorf("%s: got %v and %v, want nothing", name, adopted, err)
		}
	}
}

// TestAdoptedReach: pods that were made from an edited ConfigMap are not adopted; what runs by the config of the workers goes on, in pods as
// this release makes them. Another release of the same image is no reason.
func TestAdoptedReach(t *testing.T) {
	old := settings
	old.Image = "registry.example/millrace:0.9.0"
	made, marks := compile(t, pipeline(nil), child("validate"), settings)
	before, noted := compile(t, pipeline(nil), child("validate"), old)
	secret := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
	for name, test := range map[string]struct {
		edit  func(*corev1.PodSpec)
		stays bool
	}{
		"as it was made":        {func(*corev1.PodSpec) {}, true},
		"other arguments":       {func(p *corev1.PodSpec) { p.Containers[0].Args = []string{"worker"} }, true},
		"another image":         {func(p *corev1.PodSpec) { p.Containers[0].Image = "elsewhere.example/miner:1" }, false},
		"another command":       {func(p *corev1.PodSpec) { p.Containers[0].Command = []string{"sh"} }, false},
		"more rights in it":     {func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Privileged = new(true) }, false},
		"another user":          {func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil }, false},
		"a ServiceAccount":      {func(p *corev1.PodSpec) { p.ServiceAccountName = "admin" }, false},
		"a token":               {func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = new(true) }, false},
		"a variable of Secrets": {func(p *corev1.PodSpec) { p.Containers[0].Env = []corev1.EnvVar{{Name: "a", ValueFrom: secret}} }, false},
		"another volume": {func(p *corev1.PodSpec) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			deployment, configMap := adoptable(t, before, noted)
			test.edit(&deployment.Spec.Template.Spec)
			setFields(t, deployment)
			adopted, err := revision.Adopt(made, deployment, configMap, "millrace-operator")
			if err != nil || adopted == nil {
				t.Fatalf("got %v and %v", adopted, err)
			}
			spec, err := adopted.Spec()
			if err != nil {
				t.Fatal(err)
			}
			if got := *spec.Template.Spec.Containers[0].Image == deployment.Spec.Template.Spec.Containers[0].Image; got != test.stays {
				t.Errorf("the pods are adopted: %t, want %t", got, test.stays)
			}
			if !test.stays && string(adopted.Deployment) != string(made.Deployment) {
				t.Errorf("got %s, want what this release makes", adopted.Deployment)
			}
			if step := revision.Next(nil, 0, adopted, made, marks); len(step.Write) != 1 || string(step.Write[0].Config) != string(before.Config) {
				t.Errorf("got %+v, want the config of the workers as the only revision", step)
			}
		})
	}
}

// TestHistory: what is asked of it.
func TestHistory(t *testing.T) {
	at := func(number int64, minute int, stream string) *revision.Revision {
		r := &revision.Revision{Number: number, Created: time.Unix(int64(minute)*60, 0)}
		r.ConfigMap = "c-" + stream
		r.Inputs = []revision.Input{{Stream: stream, Durable: "d"}}
		return r
	}
	h := revision.History{at(1, 1, "A"), at(2, 2, "B"), at(4, 3, "A"), at(5, 4, "C")}
	if got := h.Newest().Number; got != 5 {
		t.Errorf("newest: %d", got)
	}
	if got := h.Reading("A", "d").Number; got != 4 {
		t.Errorf("reading A: %d", got)
	}
	if got := h.Mounting("c-B").Number; got != 2 {
		t.Errorf("mounting: %d", got)
	}
	for stream, want := range map[string]int64{"A": 4, "B": 3, "C": 0, "D": 0} {
		got := h.Left(stream, "d")
		if want == 0 && !got.IsZero() || want != 0 && !got.Equal(time.Unix(want*60, 0)) {
			t.Errorf("left %s at %s, want minute %d", stream, got, want)
		}
	}
	if h.Reading("D", "d") != nil || h.Mounting("") != nil || revision.History(nil).Newest() != nil {
		t.Error("got something that is not there")
	}
}

// TestDeletedRevision: somebody deleted the revision that the workers are of. It comes back as it was.
func TestDeletedRevision(t *testing.T) {
	made, marks := compile(t, pipeline(nil), child("validate"), settings)
	step := revision.Next(nil, 3, &revision.Adopted{Content: made}, made, marks)
	if len(step.Write) != 1 || step.Write[0].Number != 3 || step.Write[0].Marks != marks {
		t.Errorf("got %d revisions, want the one that there was", len(step.Write))
	}
}

// TestHalfAdopted: the first of the two revisions of an adoption is written, the second is not.
func TestHalfAdopted(t *testing.T) {
	old := settings
	old.Version = "0"
	before, noted := compile(t, pipeline(nil), child("validate"), old)
	edited := func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.Image = "x" }
	now, marks := compile(t, pipeline(edited), child("validate"), settings)
	now.Inputs[0].Stream = "OTHER"  // from was changed, and the workers go on with what they read
	noted.Manifest = marks.Manifest // the earlier release has looked at the edit
	deployment, configMap := adoptable(t, before, noted)
	adopted, err := revision.Adopt(now, deployment, configMap, "millrace-operator")
	if err != nil || adopted == nil {
		t.Fatal(err)
	}
	step := revision.Next(nil, 0, adopted, now, marks)
	if len(step.Write) != 2 {
		t.Fatalf("got %d", len(step.Write))
	}
	again := revision.Next(revision.History{written(t, 1, step.Write[0].Content, step.Write[0].Marks)}, 0, nil, now, marks)
	if len(again.Write) != 1 {
		t.Errorf("the second revision is never written: %+v", again.Marks)
	}
}
