package stage

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// The edits of somebody who may write ConfigMaps and nothing else.
var edits = map[string]func(*corev1.ConfigMap){
	"another image and account": func(c *corev1.ConfigMap) {
		c.Data[templateKey] = strings.NewReplacer(
			`"image":"registry.example/millrace:1.0.0"`, `"image":"evil.example/root:1"`,
			`"automountServiceAccountToken":false`, `"automountServiceAccountToken":true,"serviceAccountName":"powerful"`,
		).Replace(c.Data[templateKey])
	},
	"another server": func(c *corev1.ConfigMap) {
		c.Data[configKey] = strings.Replace(c.Data[configKey], "nats://nats:4222", "nats://evil.example:4222", 1)
	},
	"other inputs": func(c *corev1.ConfigMap) {
		c.Data[configKey] = strings.Replace(c.Data[configKey], "SHOP_OBS_ENRICH", "OTHER", 1)
	},
	"all of the config is said to be live": func(c *corev1.ConfigMap) {
		c.Annotations[annotationLive] = "nats"
		c.Data[configKey] = strings.Replace(c.Data[configKey], "nats://nats:4222", "nats://evil.example:4222", 1)
	},
	"more behind the config":    func(c *corev1.ConfigMap) { c.Data[configKey] += "{}" },
	"a template that is broken": func(c *corev1.ConfigMap) { c.Data[templateKey] = "{" },
	"a config that is broken":   func(c *corev1.ConfigMap) { c.Data[configKey] = "{" },
	"nothing":                   func(c *corev1.ConfigMap) { c.Data = nil },
}

// TestEditedRevisionIsNotApplied: the operator has more rights than those who may write ConfigMaps, so it makes no pod of
// what they wrote, whatever the annotations say.
func TestEditedRevisionIsNotApplied(t *testing.T) {
	for name, edit := range edits {
		t.Run("inputs are held/"+name, func(t *testing.T) {
			s, before := moved(t)
			forge(&before, edit)
			s.configMaps = []corev1.ConfigMap{before}
			s.deployment.Spec.Replicas = new(int32(1))
			in, err := decide(s, settings)
			if err != nil {
				t.Fatal(err)
			}
			if in.workers != nil {
				t.Fatalf("got a Deployment from ConfigMap %s, want the one that runs to stay", *in.workers.config.Name)
			}
			if len(in.held) != 1 || len(in.drop)+len(in.lost)+len(in.prune) > 0 {
				t.Errorf("got %d inputs held, %d lost, %d consumers and %d ConfigMaps deleted; want 1 held: the workers that run read it",
					len(in.held), len(in.lost), len(in.drop), len(in.prune))
			}
			setStatus(&s.stage.Status, report{seen: s, intent: in}, time.Unix(1_700_000_100, 0))
			c := meta.FindStatusCondition(s.stage.Status.Conditions, v1alpha1.ConditionWorkersAvailable)
			if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonRevisionEdited ||
				!strings.Contains(c.Message, before.Name) || !strings.Contains(c.Message, "kubectl -n shop delete configmap "+before.Name) {
				t.Errorf("got %s %s: %s; want what was edited, and the way out", c.Status, c.Reason, c.Message)
			}
			if !meta.IsStatusConditionTrue(s.stage.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Error("the stage is not Stalled")
			}
			if c := meta.FindStatusCondition(s.stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c == nil || c.Reason != v1alpha1.ReasonEventsLeft {
				t.Errorf("got %+v, want that the workers go on with the former input", c)
			}
			if s.stage.Status.Revision != before.Name {
				t.Errorf("the revision is forgotten: %q", s.stage.Status.Revision)
			}
		})
		t.Run("another release/"+name, func(t *testing.T) {
			in, err := decide(snap(t, pipeline(nil), child("correlate")), settings)
			if err != nil {
				t.Fatal(err)
			}
			have := liveConfig(in)
			forge(&have, edit)
			s := snap(t, pipeline(nil), child("correlate"))
			s.stage.Status.Revision = have.Name
			s.configMaps = []corev1.ConfigMap{have}
			other := settings
			other.Image = "registry.example/millrace:2.0.0"
			if in, err = decide(s, other); err != nil {
				t.Fatal(err)
			}
			pod := in.workers.deployment.Spec.Template.Spec
			if *pod.Containers[0].Image != other.Image || pod.ServiceAccountName != nil || *in.workers.config.Name == have.Name {
				t.Errorf("got image %s of %s, want what the manifest says", *pod.Containers[0].Image, *in.workers.config.Name)
			}
			if in.workers.replaces != have.Name {
				t.Errorf("nobody is told of the edit of %s", have.Name)
			}
		})
	}
}

// forge edits a ConfigMap, and its annotation as a person would who knows how it is made.
func forge(c *corev1.ConfigMap, edit func(*corev1.ConfigMap)) {
	c.Data, c.Annotations = maps.Clone(c.Data), maps.Clone(c.Annotations)
	edit(c)
	c.Annotations[annotationContent] = contentOf(c.Data)
}

// TestRevisionOfAnotherReleaseIsOurs: another release writes other members, in another order, and has other live
// ones; what it noted is enough to know its revisions.
func TestRevisionOfAnotherReleaseIsOurs(t *testing.T) {
	data := map[string]string{
		configKey:   `{"version": "v9", "kind": "sift", "sift": {"grain": {"size": 0.10, "of": "sand"}, "keep": true}, "chain": [{"sift": {"grain": {"size": 2}}}]}`,
		templateKey: `{"new": true}`,
	}
	const live = "sift.grain.size"
	name, err := contentName("obs-sift", live, data)
	if err != nil {
		t.Fatal(err)
	}
	have := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationLive: live}}, Data: data}
	if !isIntact("obs-sift", &have) {
		t.Error("what was noted is not recognised")
	}
	data[configKey] = strings.NewReplacer("0.10", "5", `"size": 2`, `"size": 3`).Replace(data[configKey])
	if !isIntact("obs-sift", &have) {
		t.Error("an edit of live members counts as one of the revision")
	}
	if isIntact("obs-other", &have) {
		t.Error("the revision of another stage is taken")
	}
	data[configKey] = strings.Replace(data[configKey], "sand", "gold", 1)
	if isIntact("obs-sift", &have) {
		t.Error("an edit is not noticed")
	}
}
