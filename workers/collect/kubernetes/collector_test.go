package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/collect"
	"millrace.dev/millrace/workers/config"
)

const (
	testSubject = "events.raw.kubernetes"
	testStream  = "RAW_EVENTS"
)

// world is a real API server and a real NATS server, with one namespace.
type world struct {
	kubernetes.Interface
	meta      metadata.Interface
	plane     *kube.ControlPlane
	url       string
	js        jetstream.JetStream
	namespace string
}

// newWorld starts NATS and the stream; the API server is shared by the tests of a function.
func newWorld(t *testing.T, plane *kube.ControlPlane, url string) *world {
	t.Helper()
	connection, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	js, err := jetstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.raw.>"}})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := metadata.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &world{plane.Client(), meta, plane, url, js, harness.NewNamespace(t, plane, nil)}
}

// collect runs a collector until stop is called, which returns its error.
func (w *world) collect(t *testing.T, options ...func(*Options)) (stop func() error) {
	t.Helper()
	o := Options{
		Clientset: w.Interface, Metadata: w.meta, JetStream: w.js, Subject: testSubject, Cluster: "test",
		CheckpointInterval: 100 * time.Millisecond, History: time.Hour,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, option := range options {
		option(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("collector does not end")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

// published reads everything that is on the subject about the test's namespace.
func (w *world) published(t testing.TB) []*eventv1.Event {
	t.Helper()
	all, err := w.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (w *world) read(ctx context.Context) (all []*eventv1.Event, err error) {
	stream, err := w.js.Stream(ctx, testStream)
	if err != nil {
		return nil, err
	}
	subject := testSubject
	if t := stream.CachedInfo().Config.SubjectTransform; t != nil {
		subject = config.StoredSubject(t.Destination, testSubject)
	}
	for from := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		from = msg.Sequence + 1
		if msg.Header.Get(collect.HeaderCollector) == "" {
			continue
		}
		events, err := collect.DecodeFrame(msg.Header, msg.Data)
		if err != nil {
			return nil, err
		}
		for i := range events {
			e, err := events[i].ToProto()
			if err != nil {
				return nil, err
			}
			if e.Entity.Namespace == w.namespace || e.Entity.Kind == kindNode {
				all = append(all, e)
			}
		}
	}
}

// line is an event as a test compares it.
func line(e *eventv1.Event) string {
	text := fmt.Sprintf("%s %s/%s x%d", e.Type, e.Entity.Kind, e.Entity.Name, e.Count)
	if reason := e.GetKubernetesEvent().GetReason(); reason != "" {
		text += " " + reason
	}
	return text
}

func lines(events []*eventv1.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, line(e))
	}
	sort.Strings(all)
	return all
}

// eventually waits until exactly these events are published, and holds that for a moment.
func (w *world) eventually(t *testing.T, want ...string) {
	t.Helper()
	sort.Strings(want)
	check := func() error {
		events, err := w.read(t.Context())
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, lines(events)); diff != "" {
			return fmt.Errorf("events: -want +got\n%s", diff)
		}
		return doubles(events)
	}
	harness.Eventually(t, 15*time.Second, check)
	harness.Consistently(t, 300*time.Millisecond, check)
}

// doubles returns an error when two events have one id.
func doubles(events []*eventv1.Event) error {
	seen := map[string]bool{}
	for _, e := range events {
		if seen[e.Id] {
			return fmt.Errorf("id %s was published twice", e.Id)
		}
		seen[e.Id] = true
	}
	return nil
}

func (w *world) createEvent(t *testing.T, name, reason string) *eventsv1.Event {
	t.Helper()
	e, err := w.EventsV1().Events(w.namespace).Create(t.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name}, EventTime: metav1.NowMicro(), Reason: reason, Action: "Test",
		Type: corev1.EventTypeWarning, Note: "a test of " + reason, ReportingController: "test", ReportingInstance: "test-1",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: w.namespace, Name: "web-1", UID: "web-1-uid", APIVersion: "v1", FieldPath: "spec.containers{app}"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// series sets how often an event has happened.
func (w *world) series(t *testing.T, name string, count int) {
	t.Helper()
	patch := fmt.Sprintf(`{"series":{"count":%d,"lastObservedTime":%q}}`, count, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	_, err := w.EventsV1().Events(w.namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) createPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	yes := true
	pod, err := w.CoreV1().Pods(w.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-abc", UID: "rs-uid", Controller: &yes,
		}}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// status writes the status of a pod as a kubelet does.
func (w *world) status(t *testing.T, name string, change func(*corev1.PodStatus)) {
	t.Helper()
	pod, err := w.CoreV1().Pods(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		change(&pod.Status)
		_, err = w.CoreV1().Pods(w.namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func seconds(n int) metav1.Time {
	return metav1.NewTime(time.Now().Add(time.Duration(n) * time.Second).Truncate(time.Second))
}

func ended(reason string, code int32, at int) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, StartedAt: seconds(at - 1), FinishedAt: seconds(at)}
}

func TestCollector(t *testing.T) {
	plane := harness.StartAPIServer(t)
	for name, test := range map[string]func(*testing.T, *world){
		"series counts are deltas":             testSeries,
		"an OOM kill has no Event":             testOOMKill,
		"states of pods":                       testPodStates,
		"conditions of nodes":                  testNodes,
		"deleted while no collector runs":      testDeletedMeanwhile,
		"the chain of owners":                  testChainOfOwners,
		"Jobs and StatefulSets":                testWorkloads,
		"changes of Deployments":               testDeployments,
		"a restart neither loses nor doubles":  testRestart,
		"a lost checkpoint is read back":       testLostCheckpoint,
		"history before the first start":       testHistory,
		"somebody else publishes there too":    testForeignMessages,
		"two collectors do not write together": testTwoCollectors,
		"messages that have expired":           testExpired,
		"the bucket is deleted":                testDeletedBucket,
		"an Event cannot stop the others":      testBadEvents,
		"the end does not wait for NATS":       testDrainTimeout,
		"a right is missing":                   testMissingRight,
		"nothing is left running":              testNothingLeft,
		"a restart, ingress with partitions":   partitioned(testRestart),
		"read back, ingress with partitions":   partitioned(testLostCheckpoint),
		"foreign, ingress with partitions":     partitioned(testForeignMessages),
		"two, ingress with partitions":         partitioned(testTwoCollectors),
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			test(t, newWorld(t, plane, server.URL()))
		})
	}
}

// partitioned does test where the server stores messages below the partitions of their subjects.
func partitioned(test func(*testing.T, *world)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		source, destination := config.SubjectTransform("events.raw", 8)
		if _, err := w.js.UpdateStream(t.Context(), jetstream.StreamConfig{
			Name: testStream, Subjects: []string{"events.raw.>"}, SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		}); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	}
}

func testNothingLeft(t *testing.T, w *world) {
	// The first run opens the clients' connections and makes the bucket.
	var before goleak.Option
	for i := range 2 {
		w.createEvent(t, fmt.Sprint("e", i), "Unhealthy")
		stop := w.collect(t)
		harness.Eventually(t, 15*time.Second, func() error { return w.sums(t.Context(), map[string]uint32{"Unhealthy": uint32(i + 1)}) })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = goleak.IgnoreCurrent()
		}
	}
	goleak.VerifyNone(t, before)
}

func testSeries(t *testing.T, w *world) {
	w.createEvent(t, "early", "BackOff")
	w.collect(t)
	w.eventually(t, "k8s.event Pod/web-1 x1 BackOff")
	w.series(t, "early", 2)
	w.eventually(t, "k8s.event Pod/web-1 x1 BackOff", "k8s.event Pod/web-1 x1 BackOff")
	w.series(t, "early", 7)
	w.eventually(t, "k8s.event Pod/web-1 x1 BackOff", "k8s.event Pod/web-1 x1 BackOff", "k8s.event Pod/web-1 x5 BackOff")

	for _, e := range w.published(t) {
		if e.Count != 5 {
			continue
		}
		if e.Source != "/clusters/test/test" || e.Subject != "Pod/"+w.namespace+"/web-1" || e.SeverityText != "WARN" || e.Entity.Cluster != "test" {
			t.Errorf("attributes: got %v", e)
		}
		if got := fmt.Sprint(e.Resource); !strings.Contains(got, "k8s.container.name") || !strings.Contains(got, "k8s.cluster.name") {
			t.Errorf("resource: got %s", got)
		}
	}
}

func testOOMKill(t *testing.T, w *world) {
	w.collect(t)
	pod := w.createPod(t, "web-1")
	first := ended("OOMKilled", 137, -30)
	w.status(t, "web-1", func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Terminated: first}}}
	})
	oom := "k8s.pod.oom_killed Pod/web-1 x1"
	w.eventually(t, oom)
	// The same end, seen as the last state, is no second one.
	w.status(t, "web-1", func(s *corev1.PodStatus) {
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "app", RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-29)}},
			LastTerminationState: corev1.ContainerState{Terminated: first},
		}}
	})
	restarted := "k8s.pod.restarted Pod/web-1 x1"
	w.eventually(t, oom, restarted)
	// Two restarts and one more OOM kill between two looks.
	w.status(t, "web-1", func(s *corev1.PodStatus) {
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "app", RestartCount: 3, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-5)}},
			LastTerminationState: corev1.ContainerState{Terminated: ended("OOMKilled", 137, -6)},
		}}
	})
	w.eventually(t, oom, restarted, oom, "k8s.pod.restarted Pod/web-1 x2")

	for _, e := range w.published(t) {
		if e.Type == typePodOOMKilled && !strings.HasPrefix(e.Id, string(pod.UID)+"/oom_killed/app/") {
			t.Errorf("id: got %s", e.Id)
		}
		if e.Related[0].Kind != "ReplicaSet" || e.Related[0].Role != "owner" || e.Related[1].Name != "n1" {
			t.Errorf("related: got %v", e.Related)
		}
	}
}

func testPodStates(t *testing.T, w *world) {
	w.collect(t)
	for name, change := range map[string]func(*corev1.PodStatus){
		"crashing": func(s *corev1.PodStatus) {
			s.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "app", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: ended("Error", 1, -3)},
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 20s restarting failed container"}},
			}}
		},
		"pulling": func(s *corev1.PodStatus) {
			s.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}},
			}}
		},
		"unschedulable": func(s *corev1.PodStatus) {
			s.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available", LastTransitionTime: seconds(-4),
			}}
		},
		"evicted": func(s *corev1.PodStatus) {
			s.Phase, s.Reason, s.Message = corev1.PodFailed, "Evicted", "The node was low on resource: memory."
			s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "TerminationByKubelet", LastTransitionTime: seconds(-2)}}
		},
		"failed": func(s *corev1.PodStatus) {
			s.Phase = corev1.PodFailed
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Terminated: ended("Error", 2, -1)}}}
		},
		"unready": func(s *corev1.PodStatus) {
			s.Phase = corev1.PodRunning
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-20)}}}}
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: seconds(-5)}}
		},
		"starting": func(s *corev1.PodStatus) { // not ready, and never was
			s.Phase = corev1.PodRunning
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(-20)}}}}
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: seconds(-25)}}
		},
		"completed": func(s *corev1.PodStatus) {
			s.Phase = corev1.PodSucceeded
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Terminated: ended("Completed", 0, -1)}}}
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted", LastTransitionTime: seconds(-1)}}
		},
	} {
		w.createPod(t, name)
		w.status(t, name, change)
	}
	want := []string{
		"k8s.pod.crash_loop_back_off Pod/crashing x1", "k8s.pod.restarted Pod/crashing x2",
		"k8s.pod.image_pull_back_off Pod/pulling x1",
		"k8s.pod.unschedulable Pod/unschedulable x1",
		"k8s.pod.evicted Pod/evicted x1",
		"k8s.pod.failed Pod/failed x1",
		"k8s.pod.not_ready Pod/unready x1",
		"k8s.pod.succeeded Pod/completed x1",
	}
	w.eventually(t, want...)
	// ErrImagePull and ImagePullBackOff take turns: one problem, one event.
	w.status(t, "pulling", func(s *corev1.PodStatus) { s.ContainerStatuses[0].State.Waiting.Reason = "ImagePullBackOff" })
	zero := int64(0)
	if err := w.CoreV1().Pods(w.namespace).Delete(t.Context(), "crashing", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	want = append(want, "k8s.pod.deleted Pod/crashing x1")
	w.eventually(t, want...)
	// Ready again, and not ready again.
	for i, status := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionTrue} {
		w.status(t, "unready", func(s *corev1.PodStatus) {
			s.Conditions[0].Status, s.Conditions[0].LastTransitionTime = status, seconds(i)
		})
		typ := typePodReady
		if status == corev1.ConditionFalse {
			typ = typePodNotReady
		}
		want = append(want, typ+" Pod/unready x1")
		w.eventually(t, want...)
	}
}

// What is deleted while no collector runs is published by the next one, with what it was and whose.
func testDeletedMeanwhile(t *testing.T, w *world) {
	for name, lose := range map[string]bool{"checkpoint": false, "stream": true} {
		stop := w.collect(t)
		w.createPod(t, name)
		w.status(t, name, func(s *corev1.PodStatus) { s.Phase = corev1.PodSucceeded })
		w.sees(t, "k8s.pod.succeeded Pod/"+name)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if lose {
			if err := w.js.DeleteKeyValue(t.Context(), "millrace-collect"); err != nil {
				t.Fatal(err)
			}
		}
		zero := int64(0)
		if err := w.CoreV1().Pods(w.namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			t.Fatal(err)
		}
		stop = w.collect(t)
		w.sees(t, "k8s.pod.deleted Pod/"+name)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	w.collect(t)
	w.eventually(t, "k8s.pod.succeeded Pod/checkpoint x1", "k8s.pod.deleted Pod/checkpoint x1",
		"k8s.pod.succeeded Pod/stream x1", "k8s.pod.deleted Pod/stream x1")
	for _, e := range w.published(t) {
		if len(e.Related) == 0 || e.Related[0].Name != "web-abc" || e.Related[0].Role != roleOwner || e.Entity.Uid == "" {
			t.Errorf("%s: got %v related to %v", e.Type, e.Entity, e.Related)
		}
	}
}

func testNodes(t *testing.T, w *world) {
	w.collect(t)
	name := "node-" + w.namespace
	t.Cleanup(func() { _ = w.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	node, err := w.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(conditions ...corev1.NodeCondition) {
		t.Helper()
		node.Status.Conditions = conditions
		if node, err = w.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	base := seconds(0)
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, at int) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: "Test", LastTransitionTime: metav1.NewTime(base.Add(time.Duration(at) * time.Second))}
	}
	ready, notReady := "k8s.node.ready Node/"+name+" x1", "k8s.node.not_ready Node/"+name+" x1"
	set(condition(corev1.NodeReady, corev1.ConditionTrue, -20), condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, -20))
	w.eventually(t, ready)
	set(condition(corev1.NodeReady, corev1.ConditionTrue, -20), condition(corev1.NodeMemoryPressure, corev1.ConditionTrue, -15))
	w.eventually(t, ready, "k8s.node.memory_pressure Node/"+name+" x1")
	set(condition(corev1.NodeReady, corev1.ConditionUnknown, -10), condition(corev1.NodeDiskPressure, corev1.ConditionTrue, -10))
	w.eventually(t, ready, "k8s.node.memory_pressure Node/"+name+" x1", notReady, "k8s.node.disk_pressure Node/"+name+" x1")
	set(condition(corev1.NodeReady, corev1.ConditionTrue, -10))
	want := []string{ready, "k8s.node.memory_pressure Node/" + name + " x1", notReady, "k8s.node.disk_pressure Node/" + name + " x1", ready}
	w.eventually(t, want...)
	set(condition(corev1.NodeReady, corev1.ConditionTrue, -10), condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, -8),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, -7))
	want = append(want, "k8s.node.pressure_ended Node/"+name+" x1")
	w.eventually(t, want...)
	for _, cordoned := range []string{"true", "false"} {
		if node, err = w.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"unschedulable":`+cordoned+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, map[string]string{"true": typeNodeCordoned, "false": typeNodeUncordoned}[cordoned]+" Node/"+name+" x1")
		w.eventually(t, want...)
	}
	if err := w.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, append(want, "k8s.node.deleted Node/"+name+" x1")...)
}

func (w *world) createDeployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	labels, replicas := map[string]string{"app": "web"}, int32(2)
	d, err := w.AppsV1().Deployments(w.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) patchDeployment(t *testing.T, patch string) {
	t.Helper()
	_, err := w.AppsV1().Deployments(w.namespace).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func testDeployments(t *testing.T, w *world) {
	stop := w.collect(t)
	w.createDeployment(t)
	want := []string{"k8s.deployment.created Deployment/web x1"}
	w.eventually(t, want...)
	for _, step := range []struct {
		patch string
		want  []string
	}{
		{`{"metadata":{"annotations":{"note":"x"}}}`, nil},
		{`{"spec":{"replicas":5}}`, []string{"k8s.deployment.scaled Deployment/web x1"}},
		{`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"registry.test/app:2"}]}}}}`, []string{"k8s.deployment.image_changed Deployment/web x1"}},
		{`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`, []string{"k8s.deployment.restart_requested Deployment/web x1"}},
		{`{"spec":{"minReadySeconds":5}}`, []string{"k8s.deployment.config_changed Deployment/web x1"}},
		{`{"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"app","image":"registry.test/app:3"}]}}}}`, []string{
			"k8s.deployment.image_changed Deployment/web x1", "k8s.deployment.scaled Deployment/web x1",
		}},
	} {
		w.patchDeployment(t, step.patch)
		want = append(want, step.want...)
		w.eventually(t, want...)
	}
	// What changed while the collector was away is found by comparing with what it published.
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.patchDeployment(t, `{"spec":{"replicas":4}}`)
	w.collect(t)
	w.eventually(t, append(want, "k8s.deployment.scaled Deployment/web x1")...)
}
