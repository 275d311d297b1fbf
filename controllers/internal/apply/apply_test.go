package apply

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// What an API server notes of an apply of desired: containers are a list by name, so an
// element is named by its key, and emptyDir is a struct without members.
const owned = `{
  "f:metadata": {"f:labels": {"f:app": {}}},
  "f:spec": {
    "f:containers": {"k:{\"name\":\"worker\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {},
      "f:ports": {"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}}}},
    "f:volumes": {"k:{\"name\":\"tmp\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}}
  }
}`

func desired() *corev1ac.PodApplyConfiguration {
	return corev1ac.Pod("p", "ns").WithLabels(map[string]string{"app": "x"}).WithSpec(corev1ac.PodSpec().
		WithContainers(corev1ac.Container().WithName("worker").WithImage("i:1").WithArgs("a", "b").
			WithPorts(corev1ac.ContainerPort().WithContainerPort(8080).WithProtocol(corev1.ProtocolTCP))).
		WithVolumes(corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource())))
}

func live() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "ns", Labels: map[string]string{"app": "x", "theirs": "y"},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:nodeName":{}}}`)},
				{Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{}}`)},
				{Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(owned)},
			},
		},
		Spec: corev1.PodSpec{
			NodeName: "n",
			Containers: []corev1.Container{
				{Name: "injected", Image: "side:1"},
				{
					Name: "worker", Image: "i:1", Args: []string{"a", "b"}, ImagePullPolicy: corev1.PullAlways,
					Ports: []corev1.ContainerPort{{ContainerPort: 9999, Protocol: "UDP"}, {ContainerPort: 8080, Protocol: "TCP"}},
				},
			},
			Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}}},
		},
	}
}

func TestNeeded(t *testing.T) {
	tests := map[string]struct {
		desired func(*corev1ac.PodApplyConfiguration)
		live    func(*corev1.Pod)
		want    bool
	}{
		"nothing changed":          {want: false},
		"others changed theirs":    {live: func(p *corev1.Pod) { p.Labels["theirs"], p.Spec.NodeName = "z", "m" }, want: false},
		"a value is wanted":        {desired: func(d *corev1ac.PodApplyConfiguration) { d.Labels["app"] = "z" }, want: true},
		"a field is wanted more":   {desired: func(d *corev1ac.PodApplyConfiguration) { d.Labels["more"] = "z" }, want: true},
		"a field is wanted less":   {desired: func(d *corev1ac.PodApplyConfiguration) { delete(d.Labels, "app") }, want: true},
		"a value drifted":          {live: func(p *corev1.Pod) { p.Spec.Containers[1].Image = "i:2" }, want: true},
		"a list drifted":           {live: func(p *corev1.Pod) { p.Spec.Containers[1].Args = []string{"b", "a"} }, want: true},
		"an element went":          {live: func(p *corev1.Pod) { p.Spec.Volumes = nil }, want: true},
		"a field went":             {live: func(p *corev1.Pod) { delete(p.Labels, "app") }, want: true},
		"the name does not count":  {desired: func(d *corev1ac.PodApplyConfiguration) { d.WithName("p") }, want: false},
		"others took a field over": {live: func(p *corev1.Pod) { p.ManagedFields = p.ManagedFields[:2] }, want: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, l := desired(), live()
			if test.desired != nil {
				test.desired(d)
			}
			if test.live != nil {
				test.live(l)
			}
			got, err := Needed(d, l)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestEmptied(t *testing.T) {
	tests := map[string]struct{ want, fields, patch string }{
		"nothing becomes empty":      {`{"spec":{"a":{"b":1}}}`, `{"f:spec":{"f:a":{"f:b":{}}}}`, `{}`},
		"was empty before":           {`{"spec":{"a":{}}}`, `{"f:spec":{"f:a":{}}}`, `{}`},
		"goes as a whole":            {`{"spec":{}}`, `{"f:spec":{"f:a":{"f:b":{}}}}`, `{"spec":{"a":null}}`},
		"one member goes, map stays": {`{"spec":{"a":{}}}`, `{"f:spec":{"f:a":{"f:b":{},"f:c":{}}}}`, `{"spec":{"a":{"b":null,"c":null}}}`},
		"not wanted at all":          {`{"spec":{"x":1}}`, `{"f:spec":{"f:a":{"f:b":{}}}}`, `{}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := emptied(parse(t, test.want), parse(t, test.fields))
			if diff := cmp.Diff(parse(t, test.patch), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func BenchmarkNeeded(b *testing.B) {
	d, l := desired(), live()
	b.ReportAllocs()
	for b.Loop() {
		if needed, err := Needed(d, l); err != nil || needed {
			b.Fatal(needed, err)
		}
	}
}
