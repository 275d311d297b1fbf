package kubernetes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/collect"
)

// An eviction that somebody asked for is no warning.
func TestSeverityOfEvictions(t *testing.T) {
	for reason, want := range map[string]int32{
		"EvictionByEvictionAPI": severityInfo, "DeletionByPodGC": severityInfo,
		"TerminationByKubelet": severityWarn, "DeletionByTaintManager": severityWarn, "PreemptionByScheduler": severityWarn,
	} {
		t.Run(reason, func(t *testing.T) {
			o, queue := watched()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid", CreationTimestamp: seconds(-9)}}
			pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: seconds(-1),
			}}}
			podStore(o).Set(pod)
			events := eventsOf(queue)
			if len(events) != 1 || events[0].Type != typePodEvicted || events[0].SeverityNumber != want {
				t.Errorf("got %v, want one eviction of severity %d", events, want)
			}
		})
	}
}

// An image that cannot be pulled is named, with what the registry answers.
func TestImageErrorsNameTheImage(t *testing.T) {
	for message, want := range map[string]string{
		"":                                    "container app waits for its image shop/app:2: ErrImagePull",
		"code = NotFound desc = not found":    "container app waits for its image shop/app:2: code = NotFound desc = not found",
		`failed to pull "shop/app:2": denied`: `container app waits for its image: failed to pull "shop/app:2": denied`,
	} {
		o, queue := watched()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid", CreationTimestamp: seconds(-9)}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Image: "shop/app:2", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: message},
		}}}
		podStore(o).Set(pod)
		events := eventsOf(queue)
		if len(events) != 1 || events[0].Body != want {
			t.Errorf("got %v, want %q", bodies(events), want)
		}
	}
}

// A pod is late when neither its probes nor its Deployment allow more time, not before.
func TestStartOverdue(t *testing.T) {
	const deadline = 120
	began := time.Now().Truncate(time.Second)
	probe := func(delay, period, failures int32) *corev1.Probe {
		return &corev1.Probe{InitialDelaySeconds: delay, PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 1}
	}
	for name, tc := range map[string]struct {
		container corev1.Container
		owner     string
		running   time.Duration // after the pod began
		due       time.Duration
		body      string
	}{
		"a Deployment's deadline":     {corev1.Container{}, "ReplicaSet", 0, deadline * time.Second, "Deployment web allows 120 s"},
		"a readiness probe is longer": {corev1.Container{ReadinessProbe: probe(100, 10, 20)}, "ReplicaSet", 0, 301 * time.Second, "readiness probe of container app may fail 20 times, every 10 s after 100 s"},
		"a startup probe comes first": {corev1.Container{StartupProbe: probe(0, 10, 30), ReadinessProbe: probe(0, 10, 3)}, "ReplicaSet", 0, 332 * time.Second, "startup probe of container app may fail 30 times, every 10 s, readiness probe"},
		"its image took long":         {corev1.Container{ReadinessProbe: probe(0, 10, 3)}, "ReplicaSet", 200 * time.Second, 231 * time.Second, "Deployment web allows 120 s"},
		"not of a Deployment":         {corev1.Container{}, "StatefulSet", 0, 10 * time.Minute, "10m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			queue := make(chan collect.Item, 100)
			now := began
			o := newObserver("test", func() time.Time { return now }, began.Add(-time.Hour), newLedger(), queue)
			seconds := int32(deadline)
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "web-uid"}}
			d.Spec.ProgressDeadlineSeconds = &seconds
			deploymentStore(o).Set(d)
			rs := ownedBy("apps/v1", "Deployment", "web")
			rs.UID = "web-abc-uid"
			replicaSetStore{o}.Set(&metav1.PartialObjectMetadata{ObjectMeta: rs})
			pod := func() *corev1.Pod {
				p := &corev1.Pod{ObjectMeta: ownedBy("apps/v1", tc.owner, "web-abc")}
				p.Name, p.UID = "web-abc-1", "pod-uid"
				tc.container.Name = "app"
				p.Spec.Containers = []corev1.Container{tc.container}
				p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &metav1.Time{Time: began}, ContainerStatuses: []corev1.ContainerStatus{{
					Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(began.Add(tc.running))}},
				}}}
				stripPod(p)
				return p
			}
			podStore(o).Set(pod())
			_ = delivered(queue)
			now = began.Add(tc.due - time.Second)
			o.overdue()
			if events := eventsOf(queue); len(events) > 0 {
				t.Fatalf("got %v too early", bodies(events))
			}
			now = began.Add(tc.due)
			o.overdue()
			podStore(o).Set(pod())
			o.overdue()
			events := eventsOf(queue)
			if len(events) != 1 || events[0].Type != typePodStartOverdue || events[0].SeverityNumber != severityWarn || !strings.Contains(events[0].Body, tc.body) {
				t.Fatalf("got %v, want one that says %q", bodies(events), tc.body)
			}
			if want := "pod-uid/start_overdue/" + unix(metav1.NewTime(began)); events[0].Id != want {
				t.Errorf("id: got %s, want %s", events[0].Id, want)
			}
			// A new run knows it from the ledger.
			again := newObserver("test", o.now, o.since, o.ledger, queue)
			podStore(again).Set(pod())
			again.overdue()
			if events := eventsOf(queue); len(events) > 0 {
				t.Errorf("got %v again", bodies(events))
			}
		})
	}
}

// A pod that became ready, or is deleted, is not late.
func TestStartedInTime(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"ready": func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: seconds(-1)}}
		},
		"told to end": func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} },
		"ended":       func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
	} {
		t.Run(name, func(t *testing.T) {
			o, queue := watched()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid", CreationTimestamp: seconds(-3600)}}
			began := seconds(-3600)
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &began}
			podStore(o).Set(pod)
			changed := pod.DeepCopy()
			change(changed)
			podStore(o).Set(changed)
			o.overdue()
			for _, e := range eventsOf(queue) {
				if e.Type == typePodStartOverdue {
					t.Errorf("got %s", e.Body)
				}
			}
		})
	}
}

// A restart count that went down, since the kubelet was reset, is counted anew.
func TestCountsThatGoBackwards(t *testing.T) {
	o, queue := watched()
	restarted := func(count int32) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid", CreationTimestamp: seconds(-1800)}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: count, State: corev1.ContainerState{
			Running: &corev1.ContainerStateRunning{StartedAt: seconds(-60)},
		}}}
		podStore(o).Set(pod)
	}
	series := func(count int32) {
		eventStore(o).Set(&eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "e-uid", CreationTimestamp: seconds(-1800)}, DeprecatedCount: count, DeprecatedLastTimestamp: seconds(-30),
		})
	}
	for _, count := range []int32{5, 1, 2, 0, 1} {
		restarted(count)
		series(max(count, 1))
	}
	var pods, events []uint32
	ids := map[string]bool{}
	for _, e := range eventsOf(queue) {
		if ids[e.Id] {
			t.Errorf("id %s comes twice", e.Id)
		}
		ids[e.Id] = true
		if e.Type == typePodRestarted {
			pods = append(pods, e.Count)
		} else {
			events = append(events, e.Count)
		}
	}
	if diff := cmp.Diff([]uint32{5, 1, 1, 1}, pods); diff != "" {
		t.Errorf("restarts: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]uint32{5, 1, 1, 1}, events); diff != "" {
		t.Errorf("occurrences: -want +got\n%s", diff)
	}
}

// Kubernetes knows two types of Events. The API server takes any word: what is not normal is a warning.
func TestSeverityOfEvents(t *testing.T) {
	for typ, want := range map[string]int32{
		"Normal": severityInfo, "normal": severityInfo, "": severityInfo, "Warning": severityWarn, "Error": severityWarn, "Critical": severityWarn,
	} {
		o, queue := watched()
		eventStore(o).Set(&eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "uid", CreationTimestamp: seconds(-1)}, Type: typ})
		if events := eventsOf(queue); len(events) != 1 || events[0].SeverityNumber != want {
			t.Errorf("%q: got %v, want severity %d", typ, events, want)
		}
	}
}

// A series has a first and a last time.
func TestFirstTimeOfASeries(t *testing.T) {
	first, last := seconds(-300), seconds(-10)
	for name, tc := range map[string]struct {
		last metav1.Time
		want string
	}{"a series": {last, first.UTC().Format(time.RFC3339)}, "once": {first, ""}} {
		o, queue := watched()
		eventStore(o).Set(&eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "uid"}, DeprecatedFirstTimestamp: first, DeprecatedLastTimestamp: tc.last,
		})
		got := ""
		for _, e := range eventsOf(queue) {
			for _, a := range e.Attributes {
				if a.Key == "k8s.event.first_time" {
					got = a.Value.(*eventv1.KeyValue_StringValue).StringValue
				}
			}
			if e.TimeUnixNano != nanos(tc.last.Time) {
				t.Errorf("%s: time: got %d, want %s", name, e.TimeUnixNano, tc.last)
			}
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
