package enrich_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
)

// ownedPod is a pod with a controller.
func ownedPod(name, apiVersion, kind, owner string) *corev1.Pod {
	yes := true
	p := livePod("uid-"+name, name, "10.0.0.1", noon.Add(-time.Hour))
	p.Spec.NodeName = "worker-1"
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: owner, UID: types.UID("uid-" + owner), Controller: &yes}}
	return p
}

// roles are the related objects of an event, as "role Kind/name".
func roles(e *eventv1.Event) map[string]int {
	all := map[string]int{}
	for _, r := range e.GetRelated() {
		all[r.GetRole()+" "+r.GetKind()+"/"+r.GetName()]++
	}
	return all
}

// The collector says who controls a pod, in the role owner. The workload is one role more, also when
// it is the same object.
func TestOwnerThatTheEventNamesIsItsWorkload(t *testing.T) {
	for kind, apiVersion := range map[string]string{
		"StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1", "CloneSet": "apps.kruise.io/v1alpha1",
	} {
		s, source := startLive(t, config.EnrichCache{})
		source.SetPod(ownedPod("db-0", apiVersion, kind, "db"))
		in := &eventv1.Event{
			Id: "1", Type: "k8s.pod.crash_loop_back_off", TimeUnixNano: uint64(noon.UnixNano()),
			Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "db-0", Uid: "uid-db-0", ApiVersion: "v1"},
			Related: []*eventv1.EntityRef{
				{Kind: kind, Namespace: "shop", Name: "db", Uid: "uid-db", ApiVersion: apiVersion, Role: "owner"},
				{Kind: "Node", Name: "worker-1", Role: "node"},
			},
		}
		want := map[string]int{"owner " + kind + "/db": 1, "workload " + kind + "/db": 1, "node Node/worker-1": 1}
		once := s.process(t, in)[0]
		for times, got := range map[string]*eventv1.Event{"once": once, "twice": s.process(t, once)[0]} {
			if diff := cmp.Diff(want, roles(got)); diff != "" {
				t.Errorf("%s, enriched %s (-want +got):\n%s", kind, times, diff)
			}
		}
	}
}

// The event's own word about its workload stands, unless the store knows what is above that.
func TestWorkloadThatTheEventNames(t *testing.T) {
	for name, tc := range map[string]struct {
		own  string
		want map[string]int
	}{
		"the same": {"CronJob/report", map[string]int{"owner Job/report-29384756": 1, "workload CronJob/report": 1}},
		"one below": {"Job/report-29384756", map[string]int{
			"owner Job/report-29384756": 1, "workload Job/report-29384756": 1, "workload CronJob/report": 1,
		}},
		"another": {"Workflow/nightly", map[string]int{"owner Job/report-29384756": 1, "workload Workflow/nightly": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, source := startLive(t, config.EnrichCache{})
			p := ownedPod("report-29384756-x2x9q", "batch/v1", "Job", "report-29384756")
			p.Spec.NodeName = ""
			source.SetPod(p)
			source.SetWorkload("batch/v1", "CronJob", &metav1.ObjectMeta{Namespace: "shop", Name: "report", UID: "uid-report"})
			kind, object, _ := strings.Cut(tc.own, "/")
			got := s.process(t, &eventv1.Event{
				Id: "1", Type: "k8s.pod.failed", TimeUnixNano: uint64(noon.UnixNano()),
				Entity:  &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: p.Name},
				Related: []*eventv1.EntityRef{{Kind: kind, Namespace: "shop", Name: object, Role: "workload"}},
			})[0]
			if diff := cmp.Diff(tc.want, roles(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			// The collector's word comes first, what is above it last.
			if last := got.GetRelated()[len(got.GetRelated())-1]; name == "one below" && last.GetName() != "report" {
				t.Errorf("the last reference is %v, want the topmost workload", last)
			}
		})
	}
}

// A workload that follows from the name of a Job alone says so.
func TestWorkloadByNameSaysSo(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{})
	source.SetWorkload("batch/v1", "CronJob", &metav1.ObjectMeta{Namespace: "shop", Name: "report", UID: "uid-report"})
	source.SetPod(ownedPod("report-29384756-x2x9q", "batch/v1", "Job", "report-29384756"))
	source.SetPod(ownedPod("db-0", "apps/v1", "StatefulSet", "db"))
	for pod, want := range map[string]string{"report-29384756-x2x9q": "name", "db-0": ""} {
		got := s.process(t, &eventv1.Event{Id: "1", Type: "app.log", Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: pod}})[0]
		by := ""
		for _, kv := range got.GetResource() {
			if kv.GetKey() == "millrace.workload.by" {
				by = kv.GetStringValue()
			}
		}
		if by != want {
			t.Errorf("%s: millrace.workload.by is %q, want %q", pod, by, want)
		}
	}
}

// An event from before the pod of its name existed is a miss, for itself alone.
func TestMissOfTheOldIsNotBelievedOfTheNew(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(time.Hour)})
	source.SetPod(livePod("new", "db-0", "10.0.0.2", noon.Add(-time.Minute)))
	about := func(at time.Time) *eventv1.Event {
		return &eventv1.Event{
			Id: "1", Type: "app.log", TimeUnixNano: uint64(at.UnixNano()), Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "db-0"},
		}
	}
	for i, at := range []time.Duration{-time.Hour, 0, -time.Hour, -30 * time.Second} {
		want := "new ok"
		if at == -time.Hour {
			want = " miss"
		}
		if got := pod(s.process(t, about(noon.Add(at)))[0]); got != want {
			t.Errorf("event %d, of %s before: got %q, want %q", i, -at, got, want)
		}
	}
}

// The group that an event states is part of what it names, also in the cache.
func TestGroupsInTheCache(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(time.Hour)})
	source.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "greeter", UID: "svc"}})
	for i, apiVersion := range []string{"v1", "serving.knative.dev/v1", "", "serving.knative.dev/v1", "v1"} {
		want := "svc ok"
		if apiVersion == "serving.knative.dev/v1" {
			want = " miss"
		}
		got := s.process(t, &eventv1.Event{
			Id: "1", Type: "k8s.event", Entity: &eventv1.EntityRef{Kind: "Service", Namespace: "shop", Name: "greeter", ApiVersion: apiVersion},
		})[0]
		if pod(got) != want || apiVersion != "" && got.GetEntity().GetApiVersion() != apiVersion {
			t.Errorf("event %d of %q: got %q and apiVersion %q, want %q", i, apiVersion, pod(got), got.GetEntity().GetApiVersion(), want)
		}
	}
}

// An event that states no group gets a Job of any; one that states the usual group must not get it
// from the cache.
func TestNoGroupInTheCache(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(time.Hour)})
	source.SetPod(ownedPod("crunch-0", "batch.volcano.sh/v1alpha1", "Job", "crunch"))
	for i, apiVersion := range []string{"", "batch/v1", "batch.volcano.sh/v1alpha1", "batch/v1"} {
		want := "uid-crunch ok"
		if apiVersion == "batch/v1" {
			want = " miss"
		}
		got := s.process(t, &eventv1.Event{
			Id: "1", Type: "k8s.event", Entity: &eventv1.EntityRef{Kind: "Job", Namespace: "shop", Name: "crunch", ApiVersion: apiVersion},
		})[0]
		if pod(got) != want {
			t.Errorf("event %d of %q: got %q, want %q", i, apiVersion, pod(got), want)
		}
	}
}
