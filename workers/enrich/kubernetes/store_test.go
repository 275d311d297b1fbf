package kubernetes

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/workers/enrich"
)

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func newClock() *clock { return &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

// podSpec describes a pod of a test.
type podSpec struct {
	uid, name, ip, node string
	owner               *metav1.OwnerReference
	labels              map[string]string
	start               time.Time
	host                bool
	phase               corev1.PodPhase
}

func (s podSpec) pod() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: s.name, UID: types.UID(s.uid), Labels: s.labels,
		CreationTimestamp: metav1.NewTime(s.start),
	}}
	if s.owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{*s.owner}
	}
	p.Spec.NodeName, p.Spec.HostNetwork = s.node, s.host
	p.Status.PodIP, p.Status.Phase = s.ip, s.phase
	if s.ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: s.ip}}
	}
	start := metav1.NewTime(s.start)
	p.Status.StartTime = &start
	return p
}

func controller(apiVersion, kind, name, uid string) *metav1.OwnerReference {
	yes := true
	return &metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}
}

func meta(name, uid string) *metav1.ObjectMeta {
	return &metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid)}
}

func owned(name, uid string, by *metav1.OwnerReference) *metav1.ObjectMeta {
	m := meta(name, uid)
	m.OwnerReferences = []metav1.OwnerReference{*by}
	return m
}

// found names what a query found: the uid of the entity, or its name when it has none.
func found(s *Store, q enrich.Query) string {
	f := s.Find(q)
	switch {
	case f == nil:
		return ""
	case f.Entity.UID != "":
		return f.Entity.UID
	default:
		return f.Entity.Name
	}
}

func TestIPReuse(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	startA := c.at
	a := podSpec{uid: "a", name: "web-a", ip: "10.0.0.7", start: startA}.pod()
	s.SetPod(a)
	c.advance(time.Minute)
	endA := c.at
	s.DeletePod("a")
	c.advance(10 * time.Second)
	startB := c.at
	s.SetPod(podSpec{uid: "b", name: "web-b", ip: "10.0.0.7", start: startB}.pod())
	c.advance(10 * time.Second)

	for name, tc := range map[string]struct {
		at   time.Time
		want string
	}{
		"now":                                {want: "b"},
		"late event of the first pod":        {at: endA.Add(-time.Second), want: "a"},
		"between the two":                    {at: endA.Add(5 * time.Second), want: ""},
		"event of the second pod":            {at: startB.Add(time.Second), want: "b"},
		"before either":                      {at: startA.Add(-time.Hour), want: ""},
		"in the second that the second came": {at: startB, want: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			q := enrich.Query{IP: "10.0.0.7"}
			if !tc.at.IsZero() {
				q.At = tc.at.UnixNano()
			}
			if got := found(s, q); got != tc.want {
				t.Errorf("got pod %q, want %q", got, tc.want)
			}
		})
	}
}

// A deletion that is told late must not take the address from the pod that has it now.
func TestDelayedDelete(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	startA := c.at
	s.SetPod(podSpec{uid: "a", name: "web-0", ip: "10.0.0.7", start: c.at}.pod())
	c.advance(time.Minute)
	startB := c.at
	s.SetPod(podSpec{uid: "b", name: "web-0", ip: "10.0.0.7", start: c.at}.pod())
	c.advance(time.Second)
	s.DeletePod("a")
	c.advance(3 * time.Minute)
	s.SetPod(podSpec{uid: "c", name: "other", ip: "10.0.0.9", start: c.at}.pod()) // sweeps

	if got := found(s, enrich.Query{IP: "10.0.0.7"}); got != "b" {
		t.Errorf("by IP: got %q, want b", got)
	}
	if got := found(s, enrich.Query{Kind: "Pod", Namespace: "shop", Name: "web-0"}); got != "b" {
		t.Errorf("by name: got %q, want b", got)
	}
	if got := found(s, enrich.Query{UID: "a"}); got != "" {
		t.Errorf("swept pod: got %q, want nothing", got)
	}
	if got := found(s, enrich.Query{IP: "10.0.0.7", At: startA.Add(time.Second).UnixNano()}); got != "" {
		t.Errorf("swept lease: got %q, want nothing", got)
	}
	if got := found(s, enrich.Query{IP: "10.0.0.7", At: startB.Add(time.Second).UnixNano()}); got != "b" {
		t.Errorf("lease of b: got %q, want b", got)
	}
	if n := len(s.addresses); n != 2 {
		t.Errorf("addresses: got %d, want 2", n)
	}
}

// Pods of one address may come in any order, as in a list.
func TestIPOrder(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	older, newer := c.at.Add(-time.Hour), c.at.Add(-time.Minute)
	s.ReplacePods([]*corev1.Pod{
		podSpec{uid: "new", name: "new", ip: "10.0.0.7", start: newer}.pod(),
		podSpec{uid: "old", name: "old", ip: "10.0.0.7", start: older}.pod(),
	})
	if got := found(s, enrich.Query{IP: "10.0.0.7"}); got != "new" {
		t.Errorf("now: got %q, want new", got)
	}
	if got := found(s, enrich.Query{IP: "10.0.0.7", At: older.Add(time.Minute).UnixNano()}); got != "old" {
		t.Errorf("then: got %q, want old", got)
	}
}

// A node restarts: its pods keep their objects and start times, and get other addresses.
func TestAddressChanges(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	p1 := podSpec{uid: "p1", name: "p1", ip: "10.0.0.2", start: c.at}
	s.SetPod(p1.pod())
	c.advance(time.Hour)
	p2 := podSpec{uid: "p2", name: "p2", ip: "10.0.0.3", start: c.at}
	s.SetPod(p2.pod())
	c.advance(time.Hour)
	change := c.at
	p1.ip, p2.ip = "10.0.0.3", ""
	s.SetPod(p1.pod())
	if got := found(s, enrich.Query{IP: "10.0.0.3"}); got != "p1" {
		t.Errorf("before p2 tells that it lost its address: got %q, want p1", got)
	}
	s.SetPod(p2.pod())
	c.advance(time.Second)
	p2.ip = "10.0.0.2"
	s.SetPod(p2.pod())
	c.advance(time.Second)
	s.SetPod(p1.pod()) // says nothing new

	for name, tc := range map[string]struct {
		ip   string
		at   time.Time
		want string
	}{
		"the address of p2, now that p1 has it":    {"10.0.0.3", time.Time{}, "p1"},
		"the address of p1, now that p2 has it":    {"10.0.0.2", time.Time{}, "p2"},
		"a late event of p1":                       {"10.0.0.2", change.Add(-30 * time.Minute), "p1"},
		"a late event of p2":                       {"10.0.0.3", change.Add(-30 * time.Minute), "p2"},
		"before p2 came, while p1 had another one": {"10.0.0.3", change.Add(-90 * time.Minute), ""},
		"while nobody had it":                      {"10.0.0.2", change.Add(500 * time.Millisecond), ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := enrich.Query{IP: tc.ip}
			if !tc.at.IsZero() {
				q.At = tc.at.UnixNano()
			}
			if got := found(s, q); got != tc.want {
				t.Errorf("got pod %q, want %q", got, tc.want)
			}
		})
	}
}

// The first address of a family counts from the pod's start, also when one of the other came before.
func TestAddressOfTheOtherFamily(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	p := podSpec{uid: "p", name: "p", ip: "10.0.0.7", start: c.at}.pod()
	s.SetPod(p)
	c.advance(time.Hour)
	p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::7"})
	s.SetPod(p)
	for _, ip := range []string{"10.0.0.7", "fd00::7"} {
		if got := found(s, enrich.Query{IP: ip, At: c.at.Add(-time.Minute).UnixNano()}); got != "p" {
			t.Errorf("%s: got %q, want p", ip, got)
		}
	}
}

// What is remembered of addresses ends: with keepDeleted while the pod goes on, and with the pod.
func TestAddressesOfAPodAreForgotten(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	p := podSpec{uid: "p", name: "p", start: c.at}
	for i := range 200 {
		p.ip = fmt.Sprint("10.0.0.", i%100) // it gets every address twice
		s.SetPod(p.pod())
		c.advance(2 * time.Second)
		if n := len(s.addresses); n > 31 {
			t.Fatalf("%d addresses are remembered of a pod that had 30 in the last minute", n)
		}
	}
	if got := found(s, enrich.Query{IP: "10.0.0.98", At: c.at.Add(-3 * time.Second).UnixNano()}); got != "p" {
		t.Errorf("the address before: got %q, want p", got)
	}
	had := p.ip
	for _, p.ip = range []string{"", had} { // it gets back what it lost
		s.SetPod(p.pod())
	}
	c.advance(time.Minute)
	s.SetPod(p.pod())
	if got := found(s, enrich.Query{IP: p.ip}); got != "p" || len(s.addresses) != 1 {
		t.Errorf("after a minute: got %q and %d addresses, want p and one", got, len(s.addresses))
	}
	s.DeletePod("p")
	c.advance(time.Minute)
	s.SetPod(podSpec{uid: "x", name: "x", start: c.at}.pod())
	if len(s.addresses)+len(s.deleted) != 0 {
		t.Errorf("left: %d addresses, %d deleted objects", len(s.addresses), len(s.deleted))
	}
}

// A pod that waits for its address has one that others had since it started.
func TestAddressAfterAWait(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	waits := podSpec{uid: "waits", name: "waits", start: c.at}
	s.SetPod(waits.pod())
	c.advance(time.Hour)
	s.SetPod(podSpec{uid: "short", name: "short", ip: "10.0.0.7", start: c.at}.pod())
	c.advance(time.Second)
	s.DeletePod("short")
	c.advance(time.Second)
	waits.ip = "10.0.0.7"
	s.SetPod(waits.pod())
	for at, want := range map[time.Duration]string{0: "waits", -1500 * time.Millisecond: "short", -time.Minute: ""} {
		if got := found(s, enrich.Query{IP: "10.0.0.7", At: c.at.Add(at).UnixNano()}); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		spec podSpec
		ip   string
		want string
	}{
		"pod network":                 {podSpec{ip: "10.0.0.7"}, "10.0.0.7", "p"},
		"IPv4 in IPv6":                {podSpec{ip: "10.0.0.7"}, "::ffff:10.0.0.7", "p"},
		"IPv6":                        {podSpec{ip: "fd00::7"}, "fd00:0::7", "p"},
		"host network":                {podSpec{ip: "10.0.0.7", host: true}, "10.0.0.7", ""},
		"finished":                    {podSpec{ip: "10.0.0.7", phase: corev1.PodSucceeded}, "10.0.0.7", ""},
		"failed":                      {podSpec{ip: "10.0.0.7", phase: corev1.PodFailed}, "10.0.0.7", ""},
		"no address yet":              {podSpec{}, "10.0.0.7", ""},
		"text that is not an address": {podSpec{ip: "10.0.0.7"}, "web", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := NewStore(c.now, time.Minute)
			tc.spec.uid, tc.spec.name, tc.spec.start = "p", "p", c.at
			s.SetPod(tc.spec.pod())
			if got := found(s, enrich.Query{IP: tc.ip}); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got := found(s, enrich.Query{UID: "p"}); got != "p" {
				t.Errorf("by uid: got %q, want p", got)
			}
		})
	}
}

// A pod gives its address back when its containers have ended, long before it is deleted.
func TestFinishedPodReleasesAddress(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	spec := podSpec{uid: "job", name: "job-1", ip: "10.0.0.7", start: c.at, phase: corev1.PodRunning}
	s.SetPod(spec.pod())
	c.advance(time.Minute)
	spec.phase = corev1.PodSucceeded
	s.SetPod(spec.pod())
	c.advance(time.Second)
	if got := found(s, enrich.Query{IP: "10.0.0.7"}); got != "" {
		t.Errorf("after the end: got %q, want nothing", got)
	}
	if got := found(s, enrich.Query{IP: "10.0.0.7", At: spec.start.Add(time.Second).UnixNano()}); got != "job" {
		t.Errorf("while it ran: got %q, want job", got)
	}
	s.DeletePod("job")
	c.advance(2 * time.Minute)
	s.SetPod(podSpec{uid: "x", name: "x", start: c.at}.pod())
	if n := len(s.addresses); n != 0 {
		t.Errorf("addresses left: %d", n)
	}
}

func TestDeletedPodAnswersForAWhile(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	s.SetPod(podSpec{
		uid: "a", name: "web-abc-1", start: c.at, node: "n1", labels: map[string]string{podTemplateHash: "abc"},
		owner: controller("apps/v1", "ReplicaSet", "web-abc", "rs"),
	}.pod())
	s.DeletePod("a")
	c.advance(time.Minute)
	for name, q := range map[string]enrich.Query{
		"by uid":  {UID: "a"},
		"by name": {Kind: "Pod", Namespace: "shop", Name: "web-abc-1"},
	} {
		f := s.Find(q)
		if f == nil {
			t.Fatalf("%s: not found", name)
		}
		if f.Workload.Kind != "Deployment" || f.Workload.Name != "web" || f.Node.Name != "n1" {
			t.Errorf("%s: got %s %s on %s, want Deployment web on n1", name, f.Workload.Kind, f.Workload.Name, f.Node.Name)
		}
	}
	c.advance(time.Minute + time.Second)
	if got := found(s, enrich.Query{UID: "a"}); got != "" {
		t.Errorf("after keepDeleted, before the sweep: got %q, want nothing", got)
	}
	s.SetNode(meta("n2", "n2"))
	if s.Pods() != 0 || len(s.podNames) != 0 || len(s.workloads) != 0 {
		t.Errorf("left: %d pods, %d names, %d workloads", s.Pods(), len(s.podNames), len(s.workloads))
	}
}

// The pods of a StatefulSet come back under their names.
func TestNameReuse(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 5*time.Minute)
	startA := c.at
	s.SetPod(podSpec{uid: "a", name: "db-0", start: c.at}.pod())
	c.advance(time.Minute)
	s.DeletePod("a")
	s.SetPod(podSpec{uid: "b", name: "db-0", start: c.at}.pod())
	q := enrich.Query{Kind: "Pod", Namespace: "shop", Name: "db-0"}
	if got := found(s, q); got != "b" {
		t.Errorf("now: got %q, want b", got)
	}
	q.At = startA.Add(time.Second).UnixNano()
	if got := found(s, q); got != "a" {
		t.Errorf("late event: got %q, want a", got)
	}
	q.UID = "gone"
	if got := found(s, q); got != "" {
		t.Errorf("the uid of another pod: got %q, want nothing", got)
	}
}

func TestOwners(t *testing.T) {
	type chain struct {
		Owners   []string
		Workload string
	}
	hash := map[string]string{podTemplateHash: "6d5f"}
	for name, tc := range map[string]struct {
		setup func(*Store)
		owner *metav1.OwnerReference
		label map[string]string
		want  chain
	}{
		"deployment": {
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"), label: hash,
			want: chain{[]string{"ReplicaSet/web-6d5f", "Deployment/web"}, "Deployment/web"},
		},
		"bare ReplicaSet": {
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"),
			want:  chain{[]string{"ReplicaSet/web-6d5f"}, "ReplicaSet/web-6d5f"},
		},
		"ReplicaSet without the label, of a Deployment": {
			setup: func(s *Store) {
				s.SetWorkload("apps/v1", "Deployment", meta("web", "d"))
				s.SetWorkload("apps/v1", "ReplicaSet", owned("web-6d5f", "rs", controller("apps/v1", "Deployment", "web", "d")))
			},
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"),
			want:  chain{[]string{"ReplicaSet/web-6d5f", "Deployment/web"}, "Deployment/web"},
		},
		"ReplicaSet that is called as if it were of a Deployment": {
			setup: func(s *Store) { s.SetWorkload("apps/v1", "Deployment", meta("web", "d")) },
			owner: controller("apps/v1", "ReplicaSet", "web-blue", "rs"),
			want:  chain{[]string{"ReplicaSet/web-blue"}, "ReplicaSet/web-blue"},
		},
		"ReplicaSet with the label that its Deployment has left behind": {
			setup: func(s *Store) { s.SetWorkload("apps/v1", "ReplicaSet", meta("web-6d5f", "rs")) },
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"), label: hash,
			want: chain{[]string{"ReplicaSet/web-6d5f"}, "ReplicaSet/web-6d5f"},
		},
		"Argo's Rollout": {
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"), label: map[string]string{rolloutHash: "6d5f"},
			want: chain{[]string{"ReplicaSet/web-6d5f", "Rollout/web"}, "Rollout/web"},
		},
		"static pod": {
			setup: func(s *Store) { s.SetNode(meta("n1", "n")) },
			owner: controller("v1", "Node", "n1", "n"), want: chain{Workload: "/"},
		},
		"ReplicaSet that says itself that it is alone": {
			setup: func(s *Store) {
				s.SetWorkload("apps/v1", "Deployment", meta("web", "d"))
				s.SetWorkload("apps/v1", "ReplicaSet", meta("web-6d5f", "rs"))
			},
			owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"),
			want:  chain{[]string{"ReplicaSet/web-6d5f"}, "ReplicaSet/web-6d5f"},
		},
		"StatefulSet": {
			owner: controller("apps/v1", "StatefulSet", "db", "ss"),
			want:  chain{[]string{"StatefulSet/db"}, "StatefulSet/db"},
		},
		"DaemonSet": {
			owner: controller("apps/v1", "DaemonSet", "agent", "ds"),
			want:  chain{[]string{"DaemonSet/agent"}, "DaemonSet/agent"},
		},
		"Job": {
			owner: controller("batch/v1", "Job", "report-29384756", "j"),
			want:  chain{[]string{"Job/report-29384756"}, "Job/report-29384756"},
		},
		"CronJob": {
			setup: func(s *Store) { s.SetWorkload("batch/v1", "CronJob", meta("report", "cj")) },
			owner: controller("batch/v1", "Job", "report-29384756", "j"),
			want:  chain{[]string{"Job/report-29384756", "CronJob/report"}, "CronJob/report"},
		},
		"Job that says itself that it is alone": {
			setup: func(s *Store) {
				s.SetWorkload("batch/v1", "CronJob", meta("report", "cj"))
				s.SetWorkload("batch/v1", "Job", meta("report-29384756", "j"))
			},
			owner: controller("batch/v1", "Job", "report-29384756", "j"),
			want:  chain{[]string{"Job/report-29384756"}, "Job/report-29384756"},
		},
		"Job of a CronJob that nobody may list": {
			setup: func(s *Store) {
				s.SetWorkload("batch/v1", "Job", owned("nightly", "j", controller("batch/v1", "CronJob", "report", "cj")))
			},
			owner: controller("batch/v1", "Job", "nightly", "j"),
			want:  chain{[]string{"Job/nightly", "CronJob/report"}, "CronJob/report"},
		},
		"Job of another group": {
			setup: func(s *Store) { s.SetWorkload("batch/v1", "CronJob", meta("report", "cj")) },
			owner: controller("batch.volcano.sh/v1alpha1", "Job", "report-29384756", "j"),
			want:  chain{[]string{"Job/report-29384756"}, "Job/report-29384756"},
		},
		"custom controller": {
			owner: controller("example.com/v1", "Database", "main", "c"),
			want:  chain{[]string{"Database/main"}, "Database/main"},
		},
		"nobody": {want: chain{Workload: "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewStore(newClock().now, time.Minute)
			if tc.setup != nil {
				tc.setup(s)
			}
			s.SetPod(podSpec{uid: "p", name: "p", owner: tc.owner, labels: tc.label}.pod())
			f := s.Find(enrich.Query{UID: "p"})
			var got chain
			for _, o := range f.Owners {
				got.Owners = append(got.Owners, o.Kind+"/"+o.Name)
			}
			got.Workload = f.Workload.Kind + "/" + f.Workload.Name
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// The old ReplicaSet of a rollout is gone long before the last event about its pods.
func TestReplicaSetIsDeleted(t *testing.T) {
	s := NewStore(newClock().now, time.Minute)
	s.SetWorkload("apps/v1", "Deployment", meta("web", "d"))
	s.SetWorkload("apps/v1", "ReplicaSet", owned("web-6d5f", "rs", controller("apps/v1", "Deployment", "web", "d")))
	s.SetPod(podSpec{
		uid: "p", name: "p", labels: map[string]string{podTemplateHash: "6d5f"},
		owner: controller("apps/v1", "ReplicaSet", "web-6d5f", "rs"),
	}.pod())
	s.DeleteWorkload("ReplicaSet", "shop", "web-6d5f", "rs")
	s.DeletePod("p")
	for name, q := range map[string]enrich.Query{
		"the pod":        {UID: "p"},
		"the ReplicaSet": {Kind: "ReplicaSet", Namespace: "shop", Name: "web-6d5f", UID: "rs"},
	} {
		f := s.Find(q)
		if f == nil || f.Workload.Name != "web" || f.Workload.UID != "d" {
			t.Errorf("%s: got %+v, want a part of Deployment web", name, f)
		}
	}
}

// A Job is deleted and made again under its name, where nobody may list Jobs: their pods tell.
func TestJobIsMadeAgain(t *testing.T) {
	for name, order := range map[string][]int{"as they come": {0, 1}, "in the other order": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := NewStore(c.now, 2*time.Minute)
			pods := []*corev1.Pod{
				podSpec{uid: "a", name: "migrate-a", start: c.at, owner: controller("batch/v1", "Job", "migrate", "job-1")}.pod(),
				podSpec{uid: "b", name: "migrate-b", start: c.at.Add(time.Minute), owner: controller("batch/v1", "Job", "migrate", "job-2")}.pod(),
			}
			for _, i := range order {
				s.SetPod(pods[i])
			}
			s.SetPod(pods[0])
			for uid, want := range map[string]string{"a": "job-1", "b": "job-2"} {
				if f := s.Find(enrich.Query{UID: uid}); f.Workload.UID != want || f.Owners[0].UID != want {
					t.Errorf("pod %s: got %s of %s, want %s", uid, f.Owners[0].UID, f.Workload.UID, want)
				}
			}
			for uid, want := range map[string]string{"": "job-2", "job-2": "job-2", "job-1": ""} {
				if got := found(s, enrich.Query{Kind: "Job", Namespace: "shop", Name: "migrate", UID: uid}); got != want {
					t.Errorf("Job with uid %q: got %q, want %q", uid, got, want)
				}
			}
			s.ReplacePods(nil)
			c.advance(3 * time.Minute)
			s.SetPod(podSpec{uid: "x", name: "x", start: c.at}.pod())
			if len(s.workloads) != 0 {
				t.Errorf("workloads left: %d", len(s.workloads))
			}
		})
	}
}

// What was watched, then only named by pods, and then made again is not kept by its first uid.
func TestWorkloadIsMadeAgainUnwatched(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	spec := podSpec{uid: "a", name: "a", start: c.at, owner: controller("apps/v1", "ReplicaSet", "web", "rs-1")}
	s.SetWorkload("apps/v1", "ReplicaSet", meta("web", "rs-1"))
	s.SetPod(spec.pod())
	s.SetPod(podSpec{uid: "old", name: "old", start: c.at, owner: controller("apps/v1", "ReplicaSet", "web", "rs-0")}.pod())
	if got := found(s, enrich.Query{Kind: "ReplicaSet", Namespace: "shop", Name: "web"}); got != "rs-1" {
		t.Errorf("while it is watched: got %q, want its own uid rs-1", got)
	}
	s.DeleteWorkload("ReplicaSet", "shop", "web", "rs-1")
	c.advance(2 * time.Minute)
	spec.uid, spec.name, spec.start, spec.owner = "b", "b", c.at, controller("apps/v1", "ReplicaSet", "web", "rs-2")
	s.SetPod(spec.pod())
	if got := found(s, enrich.Query{UID: "rs-1"}); got != "" {
		t.Errorf("by the first uid: got %q, want nothing", got)
	}
	s.ReplacePods(nil)
	c.advance(2 * time.Minute)
	s.SetNode(meta("n", "n"))
	if len(s.workloads)+len(s.workloadID) != 0 {
		t.Errorf("left: %d workloads, %d uids", len(s.workloads), len(s.workloadID))
	}
}

// Nodes without the right to list them, and those deleted before their pods, go with the last pod.
func TestNodeGoesWithItsPods(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, 2*time.Minute)
	for i := range 10 {
		uid := fmt.Sprint(i)
		s.SetPod(podSpec{uid: uid, name: uid, node: "named-" + uid, start: c.at}.pod())
		s.DeletePod(uid)
	}
	s.SetNode(meta("deleted", "deleted-uid"))
	s.SetPod(podSpec{uid: "last", name: "last", node: "deleted", start: c.at}.pod())
	s.SetPod(podSpec{uid: "last", name: "last", node: "deleted", start: c.at}.pod())
	s.DeleteNode("deleted", "deleted-uid")
	s.SetNode(meta("empty", "empty-uid"))
	s.SetNode(meta("there", "there-uid"))
	c.advance(time.Minute)
	s.DeleteNode("empty", "empty-uid")
	for _, name := range []string{"named-0", "deleted", "empty", "there"} {
		if s.Find(enrich.Query{Kind: "Node", Name: name}) == nil {
			t.Errorf("before keepDeleted is over: %s is not found", name)
		}
	}
	c.advance(2 * time.Minute)
	s.DeletePod("last")
	if f := s.Find(enrich.Query{UID: "last"}); f == nil || f.Node.UID != "deleted-uid" {
		t.Errorf("the last pod: got %+v, want it on its node", f)
	}
	c.advance(2 * time.Minute)
	s.SetPod(podSpec{uid: "x", name: "x", start: c.at}.pod())
	if s.nodes["there"] == nil || len(s.nodes) != 1 {
		t.Errorf("left: %d nodes, want the one that is there", len(s.nodes))
	}
	if got := found(s, enrich.Query{UID: "deleted-uid"}); got != "" {
		t.Errorf("by uid: got %q, want nothing", got)
	}
}

// Nodes, services and what a pod names by uid are found by uid alone, as long as that is theirs.
func TestUIDAlone(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	service := func(uid string) *corev1.Service { return &corev1.Service{ObjectMeta: *meta("web", uid)} }
	s.SetNode(meta("n1", "node-1"))
	s.SetService(service("service-1"))
	s.SetPod(podSpec{uid: "p", name: "p", start: c.at, owner: controller("batch/v1", "Job", "migrate", "job-1")}.pod())
	want := func(step string, uids map[string]string) {
		t.Helper()
		for uid, want := range uids {
			if got := found(s, enrich.Query{UID: uid}); got != want {
				t.Errorf("%s: %s: got %q, want %q", step, uid, got, want)
			}
		}
	}
	want("set", map[string]string{"node-1": "node-1", "service-1": "service-1", "job-1": "job-1"})
	s.SetNode(meta("n1", "node-2"))
	s.SetService(service("service-2"))
	want("made again", map[string]string{"node-1": "", "node-2": "node-2", "service-1": "", "service-2": "service-2"})
	s.ReplaceServices([]*corev1.Service{service("service-3")})
	want("listed", map[string]string{"service-2": "", "service-3": "service-3"})
	s.DeleteNode("n1", "node-2")
	s.DeleteService("shop", "web", "service-3")
	s.DeletePod("p")
	want("deleted", map[string]string{"node-2": "node-2", "service-3": "", "job-1": "job-1"})
	c.advance(time.Minute)
	s.SetNode(meta("n2", "node-3"))
	want("later", map[string]string{"node-2": "", "job-1": ""})
}

// A pod that has ended was one of its workload's, beside those that are left.
func TestShareOfAPodThatEnded(t *testing.T) {
	spec := func(uid string) podSpec {
		return podSpec{uid: uid, name: uid, owner: controller("apps/v1", "StatefulSet", "db", "db")}
	}
	for name, tc := range map[string]struct {
		end  func(*Store)
		left int
		want int
	}{
		"one of two failed": {func(s *Store) {
			failed := spec("a")
			failed.phase = corev1.PodFailed
			s.SetPod(failed.pod())
		}, 1, 2},
		"one of two deleted": {func(s *Store) { s.DeletePod("a") }, 1, 2},
		"both deleted":       {func(s *Store) { s.ReplacePods(nil) }, 0, 1},
		"none ended":         {func(*Store) {}, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewStore(newClock().now, time.Minute)
			s.SetPod(spec("a").pod())
			s.SetPod(spec("b").pod())
			tc.end(s)
			r := s.Find(enrich.Query{UID: "a"}).Radius
			if r.SharePods != tc.want || r.Share != 1/float64(tc.want) {
				t.Errorf("got %v of %d pods, want 1 of %d", r.Share, r.SharePods, tc.want)
			}
			if f := s.Find(enrich.Query{Kind: "StatefulSet", Namespace: "shop", Name: "db"}); f.Radius.Pods != tc.left {
				t.Errorf("the workload: got %d pods, want %d", f.Radius.Pods, tc.left)
			}
		})
	}
}

// Services of one name in several namespaces come in one order.
func TestServicesOfANode(t *testing.T) {
	s := NewStore(newClock().now, time.Minute)
	labels := map[string]string{"app": "redis"}
	var want []string
	for i := range 6 {
		ns := fmt.Sprint("ns", i)
		want = append(want, ns+"/redis")
		service := &corev1.Service{ObjectMeta: *meta("redis", ns), Spec: corev1.ServiceSpec{Selector: labels}}
		pod := podSpec{uid: ns, name: "redis-0", node: "n1", labels: labels}.pod()
		service.Namespace, pod.Namespace = ns, ns
		s.SetService(service)
		s.SetPod(pod)
	}
	for range 20 {
		var got []string
		for _, ref := range s.Find(enrich.Query{Kind: "Node", Name: "n1"}).Services {
			got = append(got, ref.Namespace+"/"+ref.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	}
}

func TestRadius(t *testing.T) {
	s := NewStore(newClock().now, time.Minute)
	s.SetNamespace(&metav1.ObjectMeta{Name: "kube-system", UID: "cluster"})
	s.SetNamespace(&metav1.ObjectMeta{Name: "shop", UID: "ns", Labels: map[string]string{labelCriticality: "low"}})
	s.SetWorkload("apps/v1", "Deployment", &metav1.ObjectMeta{
		Namespace: "shop", Name: "web", UID: "web", Annotations: map[string]string{annotationCriticality: "high"},
	})
	s.SetService(&corev1.Service{ObjectMeta: *meta("web", "svc"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}})
	s.SetService(&corev1.Service{ObjectMeta: *meta("external", "ext")})
	for i := range 4 {
		s.SetPod(podSpec{
			uid: fmt.Sprint("web-", i), name: fmt.Sprint("web-", i), node: fmt.Sprint("n", i%2),
			labels: map[string]string{"app": "web", podTemplateHash: "1"}, owner: controller("apps/v1", "ReplicaSet", "web-1", "rs"),
		}.pod())
	}
	s.SetPod(podSpec{uid: "db", name: "db-0", node: "n1", owner: controller("apps/v1", "StatefulSet", "db", "db")}.pod())
	s.SetPod(podSpec{uid: "done", name: "done", node: "n1", phase: corev1.PodSucceeded, owner: controller("batch/v1", "Job", "j", "j")}.pod())

	type radius struct {
		Pods, SharePods int
		Share           float64
		ShareOf         string
		Services        []string
		Criticality     string
	}
	for name, tc := range map[string]struct {
		q    enrich.Query
		want radius
	}{
		"a pod":        {enrich.Query{UID: "web-0"}, radius{1, 4, 0.25, "web", []string{"web"}, "high"}},
		"a lonely pod": {enrich.Query{UID: "db"}, radius{1, 1, 1, "db", nil, "low"}},
		"a deployment": {enrich.Query{Kind: "Deployment", Namespace: "shop", Name: "web"}, radius{4, 4, 1, "web", []string{"web"}, "high"}},
		"its ReplicaSet": {
			enrich.Query{Kind: "ReplicaSet", Namespace: "shop", Name: "web-1"}, radius{4, 4, 1, "web", []string{"web"}, "high"},
		},
		"a node with half of web":    {enrich.Query{Kind: "Node", Name: "n0"}, radius{2, 4, 0.5, "web", []string{"web"}, "high"}},
		"a node with all of db":      {enrich.Query{Kind: "Node", Name: "n1"}, radius{3, 1, 1, "db", []string{"web"}, "high"}},
		"a service":                  {enrich.Query{Kind: "Service", Namespace: "shop", Name: "web"}, radius{4, 4, 1, "web", []string{"web"}, "low"}},
		"a service with no selector": {enrich.Query{Kind: "Service", Namespace: "shop", Name: "external"}, radius{0, 0, 1, "external", []string{"external"}, "low"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := s.Find(tc.q)
			if f == nil {
				t.Fatal("not found")
			}
			got := radius{f.Radius.Pods, f.Radius.SharePods, f.Radius.Share, f.Radius.ShareOf.Name, nil, f.Criticality}
			for _, service := range f.Services {
				got.Services = append(got.Services, service.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if f.ClusterUID != "cluster" {
				t.Errorf("cluster uid: got %q", f.ClusterUID)
			}
		})
	}
}

// Counts follow deletions, ends, relabelling and services that come and go.
func TestCounts(t *testing.T) {
	c := newClock()
	s := NewStore(c.now, time.Minute)
	web := podSpec{uid: "a", name: "a", node: "n1", labels: map[string]string{"app": "web"}, owner: controller("apps/v1", "StatefulSet", "web", "web")}
	s.SetPod(web.pod())
	s.SetPod(web.pod())
	s.SetService(&corev1.Service{ObjectMeta: *meta("web", "svc"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}})
	want := func(step string, workload, service, node int) {
		t.Helper()
		got := [3]int{}
		for i, q := range []enrich.Query{
			{Kind: "StatefulSet", Namespace: "shop", Name: "web"}, {Kind: "Service", Namespace: "shop", Name: "web"}, {Kind: "Node", Name: "n1"},
		} {
			if f := s.Find(q); f != nil {
				got[i] = f.Radius.Pods
			}
		}
		if got != [3]int{workload, service, node} {
			t.Errorf("%s: got pods of workload, service, node %v, want %v", step, got, [3]int{workload, service, node})
		}
	}
	want("set twice", 1, 1, 1)
	web.labels = map[string]string{"app": "api"}
	s.SetPod(web.pod())
	want("relabelled", 1, 0, 1)
	s.SetService(&corev1.Service{ObjectMeta: *meta("web", "svc"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "api"}}})
	want("service follows", 1, 1, 1)
	web.phase = corev1.PodFailed
	s.SetPod(web.pod())
	want("failed", 0, 0, 0)
	s.DeletePod("a")
	want("deleted", 0, 0, 0)
	s.SetPod(web.pod())
	want("a late update", 0, 0, 0)
	web.uid, web.phase = "b", corev1.PodRunning
	s.SetPod(web.pod())
	want("again", 1, 1, 1)
	s.ReplacePods(nil)
	want("a list without it", 0, 0, 0)
	s.ReplaceServices(nil)
	if f := s.Find(enrich.Query{Kind: "Service", Namespace: "shop", Name: "web"}); f != nil {
		t.Error("service is still there")
	}
}

// bigCluster is n pods of Deployments of ten, five nodes for each hundred.
func bigCluster(n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	start := newClock().at
	for i := range pods {
		deployment := fmt.Sprintf("deployment-%d", i/10)
		p := podSpec{
			uid: fmt.Sprintf("7d0e4f5c-1111-4c5e-9c39-%012d", i), name: fmt.Sprintf("%s-6d5f7c9b8d-%05x", deployment, i),
			ip: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), node: fmt.Sprintf("node-%d", i/20), start: start,
			owner: controller("apps/v1", "ReplicaSet", deployment+"-6d5f7c9b8d", fmt.Sprintf("0b1c7f0e-2222-4c5e-9c39-%012d", i/10)),
			labels: map[string]string{
				"app.kubernetes.io/name": deployment, "app.kubernetes.io/instance": deployment, "app.kubernetes.io/component": "backend",
				"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "1.2.3", "team": "blue", "tier": "gold",
				podTemplateHash: "6d5f7c9b8d",
			},
		}.pod()
		p.Namespace = fmt.Sprintf("namespace-%d", i/1000)
		pods[i] = p
	}
	return pods
}

// The budget of a pod is 1 kB.
func TestMemoryOfAPod(t *testing.T) {
	const n = 10_000
	pods := bigCluster(n)
	services := make([]*corev1.Service, n/10)
	for i := range services {
		services[i] = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: pods[i*10].Namespace, Name: fmt.Sprint("service-", i)},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app.kubernetes.io/name": fmt.Sprintf("deployment-%d", i)}},
		}
	}
	before := heap()
	s := NewStore(newClock().now, time.Minute)
	s.ReplaceServices(services)
	s.ReplacePods(pods)
	perPod := int(heap()-before) / n
	t.Logf("%d bytes for each of %d pods", perPod, n)
	if perPod > 1000 {
		t.Errorf("a pod takes %d bytes, want at most 1000", perPod)
	}
	runtime.KeepAlive(pods)
	if s.Pods() != n {
		t.Errorf("pods: got %d, want %d", s.Pods(), n)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkFind(b *testing.B) {
	pods := bigCluster(10_000)
	s := NewStore(newClock().now, time.Minute)
	s.ReplacePods(pods)
	for name, query := range map[string]func(*corev1.Pod) enrich.Query{
		"uid": func(p *corev1.Pod) enrich.Query { return enrich.Query{UID: string(p.UID)} },
		"name": func(p *corev1.Pod) enrich.Query {
			return enrich.Query{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
		},
		"ip": func(p *corev1.Pod) enrich.Query { return enrich.Query{IP: p.Status.PodIP} },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if s.Find(query(pods[i%len(pods)])) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkSetPod(b *testing.B) {
	pods := bigCluster(10_000)
	s := NewStore(newClock().now, time.Minute)
	s.ReplacePods(pods)
	b.ReportAllocs()
	for i := range b.N {
		s.SetPod(pods[i%len(pods)])
	}
}
