package kubernetes

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/workers/enrich"
)

// A guess by a name says that it is one; what an object or a label says is none.
func TestOnlyANameIsAGuess(t *testing.T) {
	s := NewStore(newClock().now, time.Minute)
	s.SetWorkload("batch/v1", "CronJob", meta("report", "cj"))
	s.SetWorkload("batch/v1", "Job", owned("report-29384700", "j0", controller("batch/v1", "CronJob", "report", "cj")))
	s.SetPod(podSpec{uid: "seen", name: "seen", owner: controller("batch/v1", "Job", "report-29384700", "j0")}.pod())
	s.SetPod(podSpec{uid: "unseen", name: "unseen", owner: controller("batch/v1", "Job", "report-29384756", "j1")}.pod())
	s.SetPod(podSpec{uid: "web", name: "web", owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"), labels: map[string]string{podTemplateHash: "6d5f"}}.pod())
	for name, tc := range map[string]struct {
		q       enrich.Query
		guessed bool
	}{
		"pod of a Job that is known":     {enrich.Query{UID: "seen"}, false},
		"pod of a Job that is not":       {enrich.Query{UID: "unseen"}, true},
		"a Job that only its pod names":  {enrich.Query{UID: "j1"}, true},
		"a Job that nobody names":        {enrich.Query{Kind: "Job", Namespace: "shop", Name: "report-29384800"}, true},
		"pod of a Deployment, by label":  {enrich.Query{UID: "web"}, false},
		"a ReplicaSet, by a pod's label": {enrich.Query{UID: "rs"}, false},
	} {
		if f := s.Find(tc.q); f == nil || f.WorkloadGuessed != tc.guessed || f.Workload.Name == "" {
			t.Errorf("%s: got %+v, want guessed %t", name, f, tc.guessed)
		}
	}
}

// What a ReplicaSet says of its owner comes after its pods, and may be something else than their label said.
func TestReplicaSetSaysWhoOwnsIt(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	for i := range 3 {
		s.SetPod(podSpec{
			uid: fmt.Sprint(i), name: fmt.Sprint(i), labels: map[string]string{podTemplateHash: "6d5f"},
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"),
		}.pod())
	}
	want := func(step, kind, name string, pods int) {
		t.Helper()
		for _, q := range []enrich.Query{{UID: "0"}, {Kind: "ReplicaSet", Namespace: "shop", Name: "web-6d5f"}} {
			f := s.Find(q)
			if f.Workload.Kind != kind || f.Workload.Name != name || f.Radius.SharePods != pods || f.Radius.ShareOf != f.Workload {
				t.Errorf("%s, %+v: got %+v of %+v, want %d pods of %s %s", step, q, f.Radius, f.Workload, pods, kind, name)
			}
		}
	}
	want("as the label says", "Deployment", "web", 3)
	s.SetWorkload("apps/v1", "ReplicaSet", owned("web-6d5f", "rs", controller("apps/v1", "Deployment", "web", "d")))
	want("as the label says, by itself", "Deployment", "web", 3)
	s.SetWorkload("apps/v1", "ReplicaSet", meta("web-6d5f", "rs")) // kubectl delete deployment --cascade=orphan
	want("left behind", "ReplicaSet", "web-6d5f", 3)
	s.SetWorkload("apps/v1", "ReplicaSet", owned("web-6d5f", "rs", controller("example.com/v1", "Shop", "main", "x")))
	want("adopted", "Shop", "main", 3)
	s.ReplacePods(nil)
	s.ReplaceWorkloads("apps/v1", "ReplicaSet", nil)
	c.advance(2 * time.Minute)
	s.DeletePod("nobody")
	if len(s.workloads)+len(s.workloadID)+len(s.namespaces) != 0 {
		t.Errorf("left: %d workloads, %d uids, %d namespaces", len(s.workloads), len(s.workloadID), len(s.namespaces))
	}
}

// A quota lets a ReplicaSet have no pod: its events are about its Deployment all the same.
func TestReplicaSetWithoutPodsHasItsDeployment(t *testing.T) {
	s := NewStore(newClock().now, time.Minute)
	s.SetWorkload("apps/v1", "ReplicaSet", owned("web-6d5f", "rs", controller("apps/v1", "Deployment", "web", "d")))
	for step := range 2 {
		f := s.Find(enrich.Query{UID: "rs"})
		if f.Workload.Kind != "Deployment" || f.Workload.UID != "d" || f.Workload.APIVersion != "apps/v1" {
			t.Errorf("with %d Deployments listed: got workload %+v, want Deployment web", step, f.Workload)
		}
		s.SetWorkload("apps/v1", "Deployment", meta("web", "d"))
	}
}

// Objects of one kind and name in two API groups are two objects.
func TestGroupsAreKeptApart(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	const volcano = "batch.volcano.sh/v1alpha1"
	s.SetWorkload("batch/v1", "Job", meta("crunch", "core"))
	s.SetPod(podSpec{uid: "p", name: "p", start: c.at, owner: controller(volcano, "Job", "crunch", "other")}.pod())
	s.SetService(&corev1.Service{ObjectMeta: *meta("greeter", "svc")})
	s.SetNode(meta("n1", "node"))
	for name, tc := range map[string]struct {
		q    enrich.Query
		want string
	}{
		"no group":              {enrich.Query{Kind: "Job", Name: "crunch"}, "core"},
		"its group":             {enrich.Query{Kind: "Job", Name: "crunch", APIVersion: "batch/v1"}, "core"},
		"its group, older":      {enrich.Query{Kind: "Job", Name: "crunch", APIVersion: "batch/v1beta1"}, "core"},
		"another group":         {enrich.Query{Kind: "Job", Name: "crunch", APIVersion: volcano}, "other"},
		"a group of nobody":     {enrich.Query{Kind: "Job", Name: "crunch", APIVersion: "example.com/v1"}, ""},
		"a Job of the core":     {enrich.Query{Kind: "Job", Name: "crunch", APIVersion: "v1"}, ""},
		"a Service":             {enrich.Query{Kind: "Service", Name: "greeter", APIVersion: "v1"}, "svc"},
		"a Service of Knative":  {enrich.Query{Kind: "Service", Name: "greeter", APIVersion: "serving.knative.dev/v1"}, ""},
		"a Node of another API": {enrich.Query{Kind: "Node", Name: "n1", APIVersion: "example.com/v1"}, ""},
		"a Pod of another API":  {enrich.Query{Kind: "Pod", Name: "p", APIVersion: "metrics.k8s.io/v1beta1"}, ""},
	} {
		tc.q.Namespace = "shop"
		if got := found(s, tc.q); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	s.ReplaceWorkloads("batch/v1", "Job", nil)
	s.DeletePod("p")
	c.advance(2 * time.Minute)
	s.DeletePod("nobody")
	if len(s.workloads)+len(s.workloadID) != 0 {
		t.Errorf("left: %d workloads, %d uids", len(s.workloads), len(s.workloadID))
	}
}

// A static pod answers to the hash that the kubelet calls it by, while its mirror is there.
func TestStaticPodAnswersToItsHash(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	static := func(uid, annotation, hash string, owner string) *corev1.Pod {
		p := podSpec{uid: uid, name: uid, start: c.at, owner: controller("v1", owner, "n1", "n")}.pod()
		p.Annotations = map[string]string{annotation: hash}
		stripPod(p)
		return p
	}
	s.SetPod(static("mirror", annotationMirror, "h1", "Node"))
	s.SetPod(static("hash", annotationHash, "h2", "Node"))
	s.SetPod(static("liar", annotationHash, "h3", "StatefulSet"))
	for hash, want := range map[string]string{"h1": "mirror", "h2": "hash", "h3": ""} {
		if got := found(s, enrich.Query{Kind: "Pod", UID: hash}); got != want {
			t.Errorf("%s: got %q, want %q", hash, got, want)
		}
	}
	s.SetPod(static("mirror", annotationMirror, "h4", "Node")) // its file was edited
	if old, now := found(s, enrich.Query{UID: "h1"}), found(s, enrich.Query{UID: "h4"}); old != "" || now != "mirror" {
		t.Errorf("after an edit: got %q by the old hash and %q by the new one, want the pod by the new one", old, now)
	}
	s.ReplacePods(nil)
	c.advance(2 * time.Minute)
	s.DeletePod("nobody")
	if len(s.static) != 0 {
		t.Errorf("left: %v", s.static)
	}
}

// The services of a workload are those of all its pods, whose labels differ in the middle of a rollout.
func TestServicesOfAWorkloadAreThoseOfAllItsPods(t *testing.T) {
	for range 20 { // maps have no order
		s := NewStore(newClock().now, time.Minute)
		for _, v := range []string{"blue", "green"} {
			s.SetService(&corev1.Service{ObjectMeta: *meta(v, v), Spec: corev1.ServiceSpec{Selector: map[string]string{"v": v}}})
		}
		for _, v := range []string{"blue", "green", "none"} {
			s.SetPod(podSpec{uid: v, name: v, owner: controller("apps/v1", "StatefulSet", "db", "ss"), labels: map[string]string{"v": v}}.pod())
		}
		var got []string
		for _, svc := range s.Find(enrich.Query{Kind: "StatefulSet", Namespace: "shop", Name: "db"}).Services {
			got = append(got, svc.Name)
		}
		if diff := cmp.Diff([]string{"blue", "green"}, got); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	}
}

// The watches are not ordered among each other: a namespace may go before what is in it.
func TestNamespaceGoesWithItsLastObject(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	for i := range 10 {
		name := fmt.Sprint("preview-", i)
		m := meta(name, name)
		m.Namespace = ""
		s.SetNamespace(m)
		p := podSpec{uid: name, name: "p", start: c.at}.pod()
		p.Namespace = name
		s.SetPod(p)
		svc := &corev1.Service{ObjectMeta: *meta("s", "svc-"+name)}
		svc.Namespace = name
		s.SetService(svc)
		d := meta("d", "d-"+name)
		d.Namespace = name
		s.SetWorkload("apps/v1", "Deployment", d)
		s.DeleteNamespace(name)
		s.DeleteService(name, "s", "svc-"+name)
		s.DeletePod(name)
		s.DeleteWorkload("Deployment", name, "d", "d-"+name)
	}
	c.advance(2 * time.Minute)
	s.DeletePod("nobody")
	if len(s.pods)+len(s.namespaces)+len(s.workloads) != 0 {
		t.Errorf("left: %d pods, %d namespaces, %d workloads", len(s.pods), len(s.namespaces), len(s.workloads))
	}
}
