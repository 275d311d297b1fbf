package kubernetes

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/workers/event"
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
		"deployment": {typeOf(kindDeployment, whatScaled), kindDeployment, "spec/scaled", "4.5.abc.def", aspectSpec},
	} {
		t.Run(name, func(t *testing.T) {
			published, readBack := newLedger(), newLedger()
			published.set("uid", tc.kind, storedAspect(tc.aspect), tc.value)
			readBack.apply(&event.Event{ID: eventID("uid", tc.aspect, tc.value), Type: tc.typ})
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
		l.apply(&event.Event{ID: id, Type: typeEvent})
	}
	l.apply(&event.Event{ID: "uid/1", Type: "somebody.elses"})
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
	for _, uid := range l.missing(kindPod, map[string]struct{}{"pod-0": {}}) {
		l.gone(uid, now)
	}
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
			if f.event != nil && f.event.Type == typePodOOMKilled {
				got = append(got, fmt.Sprintf("%d: %s", i, f.value))
			}
		}
	}
	if diff := cmp.Diff([]string{"0: 1000.0", "3: 1000.1"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Counts begin with what is known: nothing for a new object, everything for one that was
// there before the collector. One that goes down starts anew, with ids of its own.
func TestCounts(t *testing.T) {
	known := func(value string) *record { return &record{Values: map[string]string{"a": value}} }
	at := time.Unix(1000, 0)
	for name, tc := range map[string]struct {
		past  past
		count int64
		value string
		delta int64
	}{
		"new object":                        {past{}, 5, "5", 5},
		"old object":                        {past{old: true}, 5, "5", 1},
		"old object that did not":           {past{old: true}, 0, "0", 0},
		"known":                             {past{record: known("3"), old: true}, 5, "5", 2},
		"known, the same":                   {past{record: known("3")}, 3, "3", 0},
		"went down":                         {past{record: known("3")}, 1, "1.1000", 1},
		"went down to 0":                    {past{record: known("3")}, 0, "0.1000", 0},
		"went up after it had gone down":    {past{record: known("1.1000")}, 4, "4.1000", 3},
		"went down twice":                   {past{record: known("4.900")}, 2, "2.1000", 2},
		"went down twice within one second": {past{record: known("4.1000")}, 2, "2.1001", 2},
		"an old list says less":             {past{record: known("3"), first: true}, 1, "3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			value, delta := tc.past.count("a", tc.count, at)
			if value != tc.value || delta != tc.delta {
				t.Errorf("got %s and %d, want %s and %d", value, delta, tc.value, tc.delta)
			}
		})
	}
}
