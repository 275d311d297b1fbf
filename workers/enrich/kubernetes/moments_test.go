package kubernetes

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/workers/enrich"
)

// The usual way in which an address goes from one pod to another: the new pod is taken by the kubelet
// some seconds before its sandbox gets the address that the old one had until then.
func TestAddressMovesToAPodThatStartedBefore(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	t0 := c.at
	s.SetPod(podSpec{uid: "old", name: "old", ip: "10.0.0.7", start: t0.Add(-time.Hour)}.pod())
	young := podSpec{uid: "young", name: "young", start: t0}
	s.SetPod(young.pod())
	c.advance(5 * time.Second)
	s.DeletePod("old")
	c.advance(time.Second)
	young.ip = "10.0.0.7"
	s.SetPod(young.pod())
	for at, want := range map[time.Duration]string{
		-time.Second: "old", time.Second: "old", 4900 * time.Millisecond: "old",
		5 * time.Second: "young", 6 * time.Second: "young",
	} {
		if got := found(s, enrich.Query{IP: "10.0.0.7", At: t0.Add(at).UnixNano()}); got != want {
			t.Errorf("a flow at t0 %+v: got %q, want %q", at, got, want)
		}
	}
}

// ended is a pod whose container ended at a time.
func ended(spec podSpec, at time.Time) *corev1.Pod {
	p := spec.pod()
	p.Status.Phase = corev1.PodSucceeded
	p.Status.ContainerStatuses = []corev1.ContainerStatus{
		{}, {State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(at)}}},
	}
	stripPod(p)
	return p
}

// A Job's pod that had ended when the worker started is found by the address that it had while it ran.
func TestFinishedPodIsFoundByItsAddress(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	start, end := c.at.Add(-time.Minute), c.at.Add(-20*time.Second)
	s.SetPod(ended(podSpec{uid: "job", name: "job", ip: "10.0.0.8", start: start}, end))
	at := func(at time.Time) string { return found(s, enrich.Query{IP: "10.0.0.8", At: at.UnixNano()}) }
	for name, tc := range map[string]struct {
		at   time.Time
		want string
	}{
		"before it ran": {start.Add(-time.Second), ""}, "while it ran": {end.Add(-time.Second), "job"},
		"when it had ended": {end, ""}, "now": {c.at, ""},
	} {
		if got := at(tc.at); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	s.SetPod(podSpec{uid: "next", name: "next", ip: "10.0.0.8", start: start.Add(-time.Second)}.pod()) // waited for an address
	for when, want := range map[time.Time]string{end.Add(-time.Second): "job", end: "next", c.at: "next"} {
		if got := at(when); got != want {
			t.Errorf("at %s, with another pod: got %q, want %q", when, got, want)
		}
	}
	c.advance(3 * time.Minute)
	s.DeletePod("nobody")
	if got := at(end.Add(-time.Second)); got != "" {
		t.Errorf("long after: got %q, want nothing", got)
	}
}

// The younger pod has been told first.
func TestFinishedPodStandsBehindTheOneThatHasItsAddress(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	s.SetPod(podSpec{uid: "now", name: "now", ip: "10.0.0.8", start: c.at.Add(-10 * time.Second)}.pod())
	s.SetPod(ended(podSpec{uid: "job", name: "job", ip: "10.0.0.8", start: c.at.Add(-time.Minute)}, c.at.Add(-20*time.Second)))
	for at, want := range map[time.Duration]string{-30 * time.Second: "job", -15 * time.Second: "", -5 * time.Second: "now"} {
		if got := found(s, enrich.Query{IP: "10.0.0.8", At: c.at.Add(at).UnixNano()}); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
}

// A watched pod ends when its status says so, not when the worker hears of it.
func TestAddressEndsWithThePodsContainers(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	spec := podSpec{uid: "job", name: "job", ip: "10.0.0.8", start: c.at}
	s.SetPod(spec.pod())
	c.advance(time.Minute)
	end := c.at.Add(-30 * time.Second)
	s.SetPod(ended(spec, end))
	if got := found(s, enrich.Query{IP: "10.0.0.8", At: end.UnixNano()}); got != "" {
		t.Errorf("after its end: got %q, want nothing", got)
	}
	if got := found(s, enrich.Query{IP: "10.0.0.8", At: end.Add(-time.Second).UnixNano()}); got != "job" {
		t.Errorf("before its end: got %q, want job", got)
	}
}

// A name means the pod of the event's time. Where nobody knows who had it then, nobody is found.
func TestNameFromBeforeThePodExisted(t *testing.T) {
	c := newClock()
	began := c.at
	s := NewStore(c.now, 2*time.Minute)
	s.SetPod(podSpec{uid: "old", name: "db-0", start: began.Add(-time.Minute)}.pod())
	c.advance(5 * time.Minute)
	s.DeletePod("old")
	c.advance(3 * time.Minute)
	made := c.at
	s.SetPod(podSpec{uid: "new", name: "db-0", start: made}.pod())
	for name, tc := range map[string]struct {
		at   time.Time
		want string
	}{
		"now":                         {made, "new"},
		"by a clock that is behind":   {made.Add(-time.Second), "new"},
		"when the first one was gone": {made.Add(-2*time.Minute - time.Second), ""},
		"long before":                 {made.Add(-time.Hour), ""},
		"without a time":              {time.Unix(0, 0), "new"},
	} {
		if got := found(s, enrich.Query{Kind: "Pod", Namespace: "shop", Name: "db-0", At: tc.at.UnixNano()}); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
