package enrich_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// live is a source whose cluster the test changes; it counts look-ups.
type live struct {
	*kubernetes.Store
	mu    sync.Mutex
	finds int
	state enrich.Status // what a source that is not up to date answers; empty = up to date
}

func (l *live) Start(context.Context, enrich.SourceSettings) error { return nil }
func (l *live) Shutdown(context.Context) error                     { return nil }

func (l *live) Find(q enrich.Query) (*enrich.Facts, enrich.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finds++
	f := l.Store.Find(q)
	switch {
	case l.state != "":
		return f, l.state
	case f == nil:
		return nil, enrich.StatusMiss
	}
	return f, enrich.StatusOK
}

func (l *live) looked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.finds
}

// startLive starts a stage over an empty store that shares its clock.
func startLive(t testing.TB, cache config.EnrichCache) (*started, *live) {
	t.Helper()
	source := &live{}
	c := all()
	c.Cache = cache
	s := start(t, c, func(context.Context) (enrich.Source, error) { return source, nil })
	source.Store = kubernetes.NewStore(func() time.Time { return s.now }, 2*time.Minute)
	return s, source
}

func livePod(uid, name, ip string, at time.Time) *corev1.Pod {
	start := metav1.NewTime(at)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid), CreationTimestamp: start},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, StartTime: &start},
	}
}

func flow(ip string, at time.Time) *eventv1.Event {
	return &eventv1.Event{
		Id: "f", Source: "ebpf", Type: "network.flow", TimeUnixNano: uint64(at.UnixNano()),
		Signal: &eventv1.Event_Network{Network: &eventv1.Network{SourceIp: ip}},
	}
}

// pod is the uid of the entity that an event got, and its status.
func pod(e *eventv1.Event) string {
	return e.GetEntity().GetUid() + " " + statuses(e)["kubernetes"]
}

// The cache must not give an address to a pod that no longer has it, nor a pod of today to an
// event of yesterday.
func TestIPReuseBehindTheCache(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(time.Hour)})
	check := func(step, want string, at time.Time) {
		t.Helper()
		if got := pod(s.process(t, flow("10.0.0.7", at))[0]); got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	check("nobody has it", " miss", s.now)
	source.SetPod(livePod("a", "web-a", "10.0.0.7", s.now))
	startA := s.now
	s.now = s.now.Add(time.Minute)
	check("a has it", "a ok", s.now)
	check("a has it, from the cache", "a ok", s.now)
	s.now = s.now.Add(time.Second)
	source.DeletePod("a")
	s.now = s.now.Add(time.Second)
	check("nobody has it any more", " miss", s.now)
	source.SetPod(livePod("b", "web-b", "10.0.0.7", s.now))
	s.now = s.now.Add(time.Second)
	check("b has it", "b ok", s.now)
	check("late event of a", "a ok", startA.Add(time.Second))
	check("b still has it", "b ok", s.now)
	check("before a", " miss", startA.Add(-time.Minute))
	check("b has it still", "b ok", s.now)
}

func TestNameReuseBehindTheCache(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(time.Hour)})
	named := func(at time.Time) *eventv1.Event {
		return &eventv1.Event{
			Id: "n", Source: "kubelet", Type: "k8s.event", TimeUnixNano: uint64(at.UnixNano()),
			Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "db-0"},
		}
	}
	startA := s.now
	source.SetPod(livePod("a", "db-0", "", s.now))
	s.now = s.now.Add(time.Minute)
	for _, want := range []string{"a ok", "a ok"} {
		if got := pod(s.process(t, named(s.now))[0]); got != want {
			t.Errorf("first pod: got %q, want %q", got, want)
		}
	}
	source.DeletePod("a")
	s.now = s.now.Add(time.Second)
	if got := pod(s.process(t, named(s.now))[0]); got != "a ok" {
		t.Errorf("an event after the deletion: got %q, want a", got)
	}
	source.SetPod(livePod("b", "db-0", "", s.now))
	s.now = s.now.Add(time.Second)
	for at, want := range map[time.Time]string{s.now: "b ok", startA.Add(time.Second): "a ok"} {
		if got := pod(s.process(t, named(at))[0]); got != want {
			t.Errorf("event of %s: got %q, want %q", at, got, want)
		}
	}
}

func TestCacheExpires(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{TTL: config.Duration(10 * time.Second)})
	about := &eventv1.Event{Id: "1", Type: "app.log", Entity: &eventv1.EntityRef{Kind: "Pod", Uid: "a"}}
	s.process(t, about, about, about)
	if n := source.looked(); n != 1 {
		t.Errorf("three misses: got %d look-ups, want 1", n)
	}
	source.SetPod(livePod("a", "web-a", "", s.now))
	s.now = s.now.Add(2 * time.Second)
	if got := pod(s.process(t, about)[0]); got != "a ok" {
		t.Errorf("a miss is believed for 2 s: got %q", got)
	}
	s.now = s.now.Add(9 * time.Second)
	s.process(t, about)
	if n := source.looked(); n != 2 {
		t.Errorf("within the ttl: got %d look-ups, want 2", n)
	}
	s.now = s.now.Add(2 * time.Second)
	s.process(t, about)
	if n := source.looked(); n != 3 {
		t.Errorf("after the ttl: got %d look-ups, want 3", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{MaxEntries: 2, TTL: config.Duration(time.Hour)})
	for range 2 {
		for i := range 3 {
			s.process(t, &eventv1.Event{Id: "1", Type: "app.log", Entity: &eventv1.EntityRef{Kind: "Pod", Uid: fmt.Sprint(i)}})
		}
	}
	if n := source.looked(); n != 6 {
		t.Errorf("three entities and room for two: got %d look-ups, want 6", n)
	}
}

// What no object can be called is a miss, and is neither looked up nor kept: its length is not bounded.
func TestNamesThatNoObjectHas(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, tc := range map[string]struct {
		entity *eventv1.EntityRef
		looks  int
	}{
		"as long as names get":        {&eventv1.EntityRef{Kind: long(63), Namespace: long(63), Name: long(253)}, 1},
		"a node with its name as uid": {&eventv1.EntityRef{Kind: "Node", Name: long(253), Uid: long(253)}, 1},
		"a longer kind":               {&eventv1.EntityRef{Kind: long(64), Namespace: "shop", Name: "a"}, 0},
		"a longer namespace":          {&eventv1.EntityRef{Kind: "Pod", Namespace: long(64), Name: "a"}, 0},
		"a longer name":               {&eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: long(254)}, 0},
		"a longer uid":                {&eventv1.EntityRef{Kind: "Pod", Uid: long(254)}, 0},
		"a longer name, with a uid":   {&eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: long(254), Uid: "a"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, source := startLive(t, config.EnrichCache{})
			got := s.process(t, &eventv1.Event{Id: "1", Type: "app.log", Entity: tc.entity})[0]
			if statuses(got)["kubernetes"] != "miss" || source.looked() != tc.looks {
				t.Errorf("got %s after %d look-ups, want a miss after %d", statuses(got)["kubernetes"], source.looked(), tc.looks)
			}
		})
	}
}

// A source that has lost its cluster shows on every event.
func TestStaleAndTimeout(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{})
	source.SetPod(livePod("a", "web-a", "", s.now))
	for state, want := range map[enrich.Status]string{enrich.StatusStale: "a stale", enrich.StatusTimeout: "a timeout", "": "a ok"} {
		source.state = state
		s.now = s.now.Add(time.Minute)
		got := s.process(t, &eventv1.Event{Id: "1", Type: "app.log", Entity: &eventv1.EntityRef{Kind: "Pod", Uid: "a"}})[0]
		if pod(got) != want || statuses(got)["impact"] != statuses(got)["kubernetes"] {
			t.Errorf("state %q: got %q and impact %s, want %q for both", state, pod(got), statuses(got)["impact"], want)
		}
	}
}

// What the event says itself is neither replaced nor repeated.
func TestOwnAttributesStay(t *testing.T) {
	s := start(t, all(), snapshot())
	in := &eventv1.Event{
		Id: "1", Type: "app.log", TimeUnixNano: uint64(noon.UnixNano()),
		Entity:   &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "checkout-6d5f-aaaaa", Uid: "pod-a-uid"},
		Related:  []*eventv1.EntityRef{{Kind: "Node", Name: "n1", Role: "node"}, {Kind: "ReplicaSet", Namespace: "shop", Name: "checkout-6d5f", Uid: "rs-uid", Role: "owner"}},
		Resource: []*eventv1.KeyValue{text("service.name", "mine"), text("custom", "x")},
	}
	first := s.process(t, in)[0]
	twice := s.process(t, first)[0]
	for name, got := range map[string]*eventv1.Event{"once": first, "twice": twice} {
		keys := map[string]int{}
		for _, kv := range got.Resource {
			keys[kv.Key]++
			if kv.Key == "service.name" && kv.GetStringValue() != "mine" {
				t.Errorf("%s: service.name is %q", name, kv.GetStringValue())
			}
		}
		for key, n := range keys {
			if n != 1 {
				t.Errorf("%s: %s comes %d times", name, key, n)
			}
		}
		refs := map[string]int{}
		for _, r := range got.Related {
			refs[r.Kind+"/"+r.Name]++
		}
		want := map[string]int{"Node/n1": 1, "ReplicaSet/checkout-6d5f": 1, "Deployment/checkout": 1, "Service/checkout": 1}
		if diff := cmp.Diff(want, refs); diff != "" {
			t.Errorf("%s: related: -want +got\n%s", name, diff)
		}
	}
}

func TestLabels(t *testing.T) {
	c := all()
	c.Kubernetes.Labels = []string{"team"}
	got := start(t, c, snapshot()).process(t, goldenEvents()["oom-killed"])[0]
	labels := map[string]string{}
	for _, kv := range got.Resource {
		if len(kv.Key) > 14 && kv.Key[:14] == "k8s.pod.label." {
			labels[kv.Key] = kv.GetStringValue()
		}
	}
	if diff := cmp.Diff(map[string]string{"k8s.pod.label.team": "blue"}, labels); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The rule that decides is the first that the event says something for.
func TestAssociation(t *testing.T) {
	s := start(t, all(), snapshot())
	for name, tc := range map[string]struct {
		in   *eventv1.Event
		want string
	}{
		"entity by uid":       {&eventv1.Event{Entity: &eventv1.EntityRef{Uid: "pod-a-uid"}}, "pod-a-uid ok"},
		"entity by name":      {&eventv1.Event{Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "db-0"}}, "pod-db-uid ok"},
		"a node by name":      {&eventv1.Event{Entity: &eventv1.EntityRef{Kind: "Node", Name: "n2", Uid: "n2"}}, "n2 ok"},
		"a workload":          {&eventv1.Event{Entity: &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "checkout"}}, "deployment-checkout-uid ok"},
		"an entity elsewhere": {&eventv1.Event{Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "other", Name: "db-0"}, Resource: []*eventv1.KeyValue{text("k8s.pod.uid", "pod-a-uid")}}, " miss"},
		"pod uid":             {&eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.uid", "pod-b-uid")}}, "pod-b-uid ok"},
		"pod name":            {&eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.name", "db-0"), text("k8s.namespace.name", "shop")}}, "pod-db-uid ok"},
		"name without space":  {&eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.name", "db-0"), text("k8s.pod.ip", "10.0.0.1")}}, "pod-a-uid ok"},
		"pod ip":              {&eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.ip", "10.0.0.3")}}, "pod-db-uid ok"},
		"source ip":           {flow("10.0.0.1", noon), "pod-a-uid ok"},
		"node":                {&eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.node.name", "n1")}}, "node-1-uid ok"},
		"nothing":             {&eventv1.Event{Source: "x"}, " miss"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.TimeUnixNano = uint64(noon.UnixNano())
			if got := pod(s.process(t, tc.in)[0]); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// The engine calls Process from several goroutines while the cluster changes.
func TestConcurrent(t *testing.T) {
	s, source := startLive(t, config.EnrichCache{MaxEntries: 8, TTL: config.Duration(time.Nanosecond)})
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for i := range 200 {
				name := fmt.Sprint("web-", i%16)
				e, err := event.FromProto(&eventv1.Event{
					Id: "1", Type: "app.log", Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: name},
				}, event.Origin{})
				if err != nil {
					t.Error(err)
					return
				}
				b := stage.Batch{Events: []event.Event{e}}
				b.Reset(1)
				if err := s.Process(t.Context(), &b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Go(func() {
		for i := range 400 {
			name := fmt.Sprint("web-", i%16)
			source.SetPod(livePod(fmt.Sprint(name, "-", i/16), name, fmt.Sprint("10.0.0.", i%16), noon))
			if i%3 == 0 {
				source.DeletePod(fmt.Sprint(name, "-", i/16))
			}
		}
	})
	done.Wait()
}
