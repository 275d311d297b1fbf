package kubernetes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/collect"
)

// watched is an observer whose queue a test reads, an hour after its first start less history.
func watched() (*observer, chan collect.Item) {
	queue := make(chan collect.Item, 1000)
	return newObserver("test", time.Now, time.Now().Add(-time.Hour), newLedger(), queue), queue
}

// delivered are the items that wait in a queue.
func delivered(queue chan collect.Item) (all []collect.Item) {
	for len(queue) > 0 {
		all = append(all, <-queue)
	}
	return all
}

// What the API server takes of anybody makes events of bounded size that encode.
func TestTextsOfObjectsAreBounded(t *testing.T) {
	long := strings.Repeat("\xff\u20ac", 1<<19)
	meta := metav1.ObjectMeta{UID: "uid", Name: "x", CreationTimestamp: seconds(-5)}
	deployment := &appsv1.Deployment{ObjectMeta: meta}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: long}}
	pod := &corev1.Pod{ObjectMeta: meta}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: long, Image: long, State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: long},
	}}}
	stripPod(pod)
	node := &corev1.Node{ObjectMeta: meta}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Reason: long, Message: long, LastTransitionTime: seconds(-1)}}
	event := &eventsv1.Event{
		ObjectMeta: meta, Reason: long, Action: long, Type: long, Note: long, ReportingController: long, ReportingInstance: long,
		Regarding:        corev1.ObjectReference{Kind: long, Name: long, FieldPath: "spec.containers{" + long + "}"},
		Related:          &corev1.ObjectReference{Kind: long, Name: long, APIVersion: long},
		DeprecatedSource: corev1.EventSource{Host: long}, DeprecatedLastTimestamp: seconds(-1),
	}
	o, queue := watched()
	deploymentStore(o).Set(deployment)
	podStore(o).Set(pod)
	nodeStore(o).Set(node)
	eventStore(o).Set(event)
	items := delivered(queue)
	if len(items) != 4 {
		t.Fatalf("got %d items, want 4", len(items))
	}
	for _, i := range items {
		if _, err := collect.EncodeFrame(i.Events); err != nil {
			t.Errorf("%s: %v", i.Events[0].Type, err)
		}
		if size := proto.Size(i.Events[0]); size > 100<<10 {
			t.Errorf("%s: %d bytes", i.Events[0].Type, size)
		}
	}
}

// A pod with many containers makes more than one frame; the changes of a Deployment do not.
func TestManyFindingsAreSplit(t *testing.T) {
	o, queue := watched()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid", Name: "x", CreationTimestamp: seconds(-5)}}
	for i := range 40 {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: fmt.Sprint("app-", i), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason: "ErrImagePull", Message: strings.Repeat("x", maxBody),
			}},
		})
	}
	podStore(o).Set(pod)
	total := 0
	for _, i := range delivered(queue) {
		size := 0
		for _, e := range i.Events {
			size += proto.Size(e)
		}
		if size > 2*collect.MaxFrameBytes {
			t.Errorf("an item has %d bytes", size)
		}
		total += len(i.Events)
	}
	if total != 40 {
		t.Errorf("got %d events, want 40", total)
	}
}

// A kind that may not be listed holds up no checkpoint, and nothing that is forgotten.
func TestMissingRightHoldsUpNoCheckpoint(t *testing.T) {
	o, queue := watched()
	o.waiting, o.unlisted = map[string]bool{kindNode: true, kindPod: true}, map[string]bool{kindNode: true, kindPod: true}
	denied := false
	o.forbidden = func(kind string) bool { return denied && kind == kindNode }
	for i := range 100 {
		o.ledger.set(fmt.Sprint("pod-", i), kindPod, "failed", "1")
	}
	for _, uid := range o.ledger.missing(kindPod, map[string]struct{}{"pod-0": {}}) {
		o.ledger.gone(uid, o.now().Add(-time.Hour))
	}
	checkpoint := func() *collect.Checkpoint {
		o.checkpoint()
		for _, i := range delivered(queue) {
			return i.Checkpoint
		}
		return nil
	}
	if c := checkpoint(); c != nil {
		t.Error("a checkpoint although nothing has been listed")
	}
	if n := o.ledger.size(); n != 1 {
		t.Errorf("the ledger has %d objects, want 1", n)
	}
	denied = true
	if c := checkpoint(); c != nil {
		t.Error("a checkpoint although pods have not been listed")
	}
	pods := podStore(o)
	pods.Replace(nil)
	c := checkpoint()
	if c == nil {
		t.Fatal("no checkpoint")
	}
	h := c.Head(collect.Position{}).(head)
	if late, ok := h.Late[kindNode]; len(h.Late) != 1 || !ok || !late.IsZero() {
		t.Errorf("kinds that were not listed: got %v, want Node", h.Late)
	}
}

// What happened before a right was granted is history then, as it is at a first start.
func TestLateKindHasItsOwnHistory(t *testing.T) {
	o, queue := watched()
	o.since = time.Now().Add(-1000 * time.Hour)
	o.history = time.Hour
	o.late = map[string]time.Time{kindNode: {}}
	o.waiting, o.unlisted = map[string]bool{kindNode: true}, map[string]bool{kindNode: true}
	o.forbidden = func(string) bool { return false }
	node := func(uid string, at int) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Name: uid, CreationTimestamp: seconds(at)}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: seconds(at)}}
		return n
	}
	nodes := nodeStore(o)
	nodes.Replace([]any{node("old", -7200), node("new", -60)})
	items := delivered(queue)
	if len(items) != 1 || items[0].Events[0].Entity.Name != "new" {
		t.Fatalf("got %v, want the node of the last hour", items)
	}
	// That it was listed is written even when no object is.
	o.ledger.dirty = [collect.Shards]bool{}
	o.checkpoint()
	items = delivered(queue)
	if len(items) != 1 || items[0].Checkpoint.Head(collect.Position{}).(head).Late[kindNode].IsZero() {
		t.Fatalf("got %v, want a checkpoint with the time of the first list", items)
	}
	// A second list changes nothing.
	first := o.late[kindNode]
	nodes.Replace(nil)
	if !o.late[kindNode].Equal(first) {
		t.Errorf("since: got %s, want %s", o.late[kindNode], first)
	}
}

// What happened to pods before the first start is known, whether or not a container ran; what
// lasts is told.
func TestPodsOfBeforeTheFirstStart(t *testing.T) {
	old, recent := seconds(-72*3600), seconds(-60)
	rejected := func(change func(*corev1.Pod)) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid", Name: "x", CreationTimestamp: old}}
		pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu"}
		change(pod)
		return pod
	}
	waiting := func(reason string) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid", Name: "x", CreationTimestamp: old}}
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: old,
		}}}
		return pod
	}
	for name, tc := range map[string]struct {
		states []*corev1.Pod
		want   string
		at     metav1.Time
	}{
		"rejected":         {[]*corev1.Pod{rejected(func(*corev1.Pod) {})}, "", old},
		"rejected at last": {[]*corev1.Pod{rejected(func(p *corev1.Pod) { p.Status.StartTime = &recent })}, typePodFailed, recent},
		"condition": {[]*corev1.Pod{rejected(func(p *corev1.Pod) {
			p.Status.StartTime = &old
			p.Status.Conditions = []corev1.PodCondition{{LastTransitionTime: recent}, {LastTransitionTime: old}}
		})}, typePodFailed, recent},
		// The kubelet was restarted, and refuses a pod that it ran.
		"rejected after it ran": {[]*corev1.Pod{rejected(func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &old}
		}), rejected(func(p *corev1.Pod) { p.Status.StartTime = &old })}, typePodFailed, metav1.Time{}},
		// When its gate is lifted the condition keeps its time.
		"gated":         {[]*corev1.Pod{waiting(corev1.PodReasonSchedulingGated), waiting(corev1.PodReasonUnschedulable)}, typePodUnschedulable, old},
		"unschedulable": {[]*corev1.Pod{waiting(corev1.PodReasonUnschedulable), waiting(corev1.PodReasonUnschedulable)}, typePodUnschedulable, old},
	} {
		t.Run(name, func(t *testing.T) {
			o, queue := watched()
			pods := podStore(o)
			for _, pod := range tc.states {
				pods.Set(pod)
			}
			var events []*eventv1.Event
			for _, i := range delivered(queue) {
				events = append(events, i.Events...)
			}
			switch {
			case tc.want == "" && len(events) == 0:
			case tc.want == "", len(events) != 1, events[0].Type != tc.want:
				t.Errorf("got %v, want %q", events, tc.want)
			case tc.at.IsZero():
				if ago := time.Since(time.Unix(0, int64(events[0].TimeUnixNano))); ago > time.Minute {
					t.Errorf("time: got %s ago, want now", ago)
				}
			case events[0].TimeUnixNano != nanos(tc.at.Time):
				t.Errorf("time: got %d, want %s", events[0].TimeUnixNano, tc.at)
			}
		})
	}
}
