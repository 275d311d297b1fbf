package kubernetes

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is read back from ids must be what was recorded when they were published.
func TestApply(t *testing.T) {
	for name, tc := range map[string]struct {
		typ, kind, aspect, value string
		stored                   string
	}{
		"event":      {typeEvent, kindEvent, "", "7", ""},
		"container":  {typePodOOMKilled, kindPod, "oom_killed/app", "1795436932.3", "oom_killed/app"},
		"pod":        {typePodNotReady, kindPod, "not_ready", "1795436932", "not_ready"},
		"node":       {typeNodeReady, kindNode, "condition/Ready", "1795436932.True", "condition/Ready"},
		"deployment": {typeDeploymentScaled, kindDeployment, "spec/scaled", "4.5.abc.def", aspectSpec},
	} {
		t.Run(name, func(t *testing.T) {
			published, readBack := newLedger(), newLedger()
			published.set("uid", tc.kind, storedAspect(tc.kind, tc.aspect), tc.value)
			readBack.apply(eventID("uid", tc.aspect, tc.value), tc.typ)
			if diff := cmp.Diff(published.objects, readBack.objects); diff != "" {
				t.Errorf("-published +read back\n%s", diff)
			}
			if got := readBack.get("uid").value(tc.stored); got != tc.value {
				t.Errorf("aspect %q: got %q, want %q", tc.stored, got, tc.value)
			}
		})
	}
	l := newLedger()
	for _, id := range []string{"", "no-slash", "/x"} {
		l.apply(id, typeEvent)
	}
	l.apply("uid/1", "somebody.elses")
	if l.size() != 0 {
		t.Errorf("ids of others: got %d objects", l.size())
	}
}

func TestForget(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLedger()
	for i := range 3 {
		l.set(fmt.Sprint("pod-", i), kindPod, "failed", "1")
	}
	l.set("node", kindNode, "condition/Ready", "1.True")
	l.only(kindPod, map[string]struct{}{"pod-0": {}}, now)
	l.forget(now.Add(keepGone))
	if l.size() != 4 {
		t.Errorf("within the time: got %d objects, want 4", l.size())
	}
	l.see("pod-1", kindPod) // a list that lagged behind
	l.forget(now.Add(keepGone + 2*time.Second))
	if l.size() != 3 || l.get("pod-2") != nil || l.get("pod-1").value("failed") != "1" {
		t.Errorf("after it: got %d objects, want 3 without pod-2", l.size())
	}
}

// Whatever state a container is in, the end of one run has one value.
func TestEndsHaveOneValue(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	oom := &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: at}
	again := &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: at}
	states := []corev1.ContainerStatus{
		{Name: "app", RestartCount: 0, State: corev1.ContainerState{Terminated: oom}},
		{Name: "app", RestartCount: 0, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, LastTerminationState: corev1.ContainerState{Terminated: oom}},
		{Name: "app", RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: corev1.ContainerState{Terminated: oom}},
		// It dies again within the same second.
		{Name: "app", RestartCount: 1, State: corev1.ContainerState{Terminated: again}, LastTerminationState: corev1.ContainerState{Terminated: oom}},
		{Name: "app", RestartCount: 1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}, LastTerminationState: corev1.ContainerState{Terminated: again}},
	}
	l := newLedger()
	var got []string
	for i, state := range states {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "p"}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{state}
		for _, f := range podFindings(pod, past{record: l.get("p")}) {
			l.set("p", kindPod, f.aspect, f.value)
			if f.event.Type == typePodOOMKilled {
				got = append(got, fmt.Sprintf("%d: %s", i, f.value))
			}
		}
	}
	if diff := cmp.Diff([]string{"0: 1000.0", "3: 1000.1"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Counts begin with what is known: nothing for a new object, everything for one that was
// there before the collector.
func TestCounted(t *testing.T) {
	known := &record{Values: map[string]string{"a": "3"}}
	for name, tc := range map[string]struct {
		past  past
		count int64
		want  int64
	}{
		"new object":              {past{}, 5, 5},
		"old object":              {past{old: true}, 5, 1},
		"old object that did not": {past{old: true}, 0, 0},
		"known":                   {past{record: known, old: true}, 5, 2},
		"known, the same":         {past{record: known}, 3, 0},
		"known, counted down":     {past{record: known}, 1, -2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.past.counted("a", tc.count); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
