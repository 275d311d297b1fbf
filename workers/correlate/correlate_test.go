package correlate

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStage(t testing.TB, c config.Correlate) *correlator {
	t.Helper()
	return newStageWith(t, 1, c)
}

// newStageWith makes a stage that reads so many partitions.
func newStageWith(t testing.TB, partitions int, c config.Correlate) *correlator {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{
		Config: &config.StageConfig{
			Stage: "correlate", Pipeline: config.PipelineRef{Namespace: "default", Name: "p"}, Correlate: &c, Partitions: partitions,
		},
		Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*correlator)
}

// newNamedStage is a stage of another name or pipeline.
func newNamedStage(t testing.TB, pipeline, name string) *correlator {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{
		Stage: name, Pipeline: config.PipelineRef{Namespace: "default", Name: pipeline}, Correlate: &realtimeOnly,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*correlator)
}

var realtimeOnly = config.Correlate{Realtime: &config.CorrelateRealtime{}}

// on makes an event: what happened to which pod (namespace shop), how long after the start.
// A pod named n/... is a node, d/... a Deployment.
func on(after time.Duration, what, entity string, mend ...func(*eventv1.Event)) *eventv1.Event {
	e := &eventv1.Event{
		Id: fmt.Sprintf("%s %s %s", what, entity, after), Source: "/test", Type: what, TimeUnixNano: uint64(start.Add(after).UnixNano()),
		SeverityNumber: 17, Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: entity},
	}
	if name, ok := strings.CutPrefix(entity, "n/"); ok {
		e.Entity = &eventv1.EntityRef{Kind: "Node", Name: name}
	}
	if name, ok := strings.CutPrefix(entity, "d/"); ok {
		e.Entity, e.SeverityNumber = &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: name}, 9
	}
	for _, m := range mend {
		m(e)
	}
	return e
}

func node(name string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		e.Related = append(e.Related, &eventv1.EntityRef{Kind: "Node", Name: name, Role: "node"})
	}
}

func reason(r, note string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		e.Type, e.Body = "k8s.event", note
		e.Signal = &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: r}}
	}
}

func failedCall(service string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		e.Type = "app.request"
		e.Signal = &eventv1.Event_Span{Span: &eventv1.Span{Status: "error", PeerService: service}}
	}
}

func in(cluster string) func(*eventv1.Event) {
	return func(e *eventv1.Event) { e.Entity.Cluster = cluster }
}

func namespace(name string) func(*eventv1.Event) {
	return func(e *eventv1.Event) { e.Entity.Namespace = name }
}

func behind(services ...string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		for _, name := range services {
			e.Related = append(e.Related, &eventv1.EntityRef{Kind: "Service", Namespace: "shop", Name: name, Role: "service"})
		}
	}
}

func resource(key, value string) func(*eventv1.Event) {
	return func(e *eventv1.Event) { e.Resource = append(e.Resource, text(key, value)) }
}

func attribute(key, value string) func(*eventv1.Event) {
	return func(e *eventv1.Event) { e.Attributes = append(e.Attributes, text(key, value)) }
}

type made struct {
	verdicts []stage.Verdict
	insights []*eventv1.Event
	groups   []*eventv1.Event
}

func (m *made) collect(b *stage.Batch) {
	for i := range b.Events {
		m.verdicts = append(m.verdicts, b.Decision(i).Verdict)
	}
	for _, p := range b.Produced() {
		if p.Port == stage.Insights {
			m.insights = append(m.insights, p.Event)
		} else {
			m.groups = append(m.groups, p.Event)
		}
	}
}

// process runs the events through the stage, each in a batch of its own that is stored no earlier
// than it happened, and flushes.
func process(t testing.TB, s *correlator, events ...*eventv1.Event) *made {
	t.Helper()
	m, now := &made{}, start
	for _, e := range events {
		b := batch(t, e)
		if at := time.Unix(0, int64(e.GetTimeUnixNano())); at.After(now) {
			now = at
		}
		b.Now = now
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		m.collect(b)
	}
	b := &stage.Batch{}
	b.Reset(1)
	if err := s.Flush(t.Context(), now, true, b); err != nil {
		t.Fatal(err)
	}
	m.collect(b)
	return m
}

// step runs the events through the stage as one batch that was stored so long after the start, and
// flushes at the second after it.
func step(t testing.TB, s *correlator, m *made, stored time.Duration, events ...*eventv1.Event) {
	t.Helper()
	if len(events) > 0 {
		move(t, s)
		b := batch(t, events...)
		b.Now = start.Add(stored)
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		m.collect(b)
	}
	b := &stage.Batch{}
	b.Reset(1)
	if err := s.Flush(t.Context(), start.Add(stored+time.Second).Truncate(time.Second), false, b); err != nil {
		t.Fatal(err)
	}
	m.collect(b)
}

func batch(t testing.TB, events ...*eventv1.Event) *stage.Batch {
	t.Helper()
	b := stagetest.Batch(t, events...)
	b.Now = start
	return b
}

// last returns the last revision of each insight, in the order of their first.
func last(events []*eventv1.Event) []*eventv1.Event {
	var out []*eventv1.Event
	at := map[string]int{}
	for _, e := range events {
		if i, ok := at[e.GetId()]; ok {
			out[i] = e
			continue
		}
		at[e.GetId()] = len(out)
		out = append(out, e)
	}
	return out
}

const (
	podA = "pay-6d4cf56db6-x2x9q"
	podB = "pay-6d4cf56db6-bcdfg"
	cart = "cart-7f9c9f8c5d-kkkkk"
)

func TestIncidents(t *testing.T) {
	s := time.Second
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		want   []string // titles of the last revisions
		root   string
	}{
		"crash loop alone": {
			[]*eventv1.Event{on(0, "k8s.pod.crash_loop_back_off", podA)},
			[]string{"deployment shop/pay crash-loops"},
			"pay",
		},
		"crash loop by its event": {
			[]*eventv1.Event{on(0, "", podA, reason("BackOff", "Back-off restarting failed container app in pod"))},
			[]string{"deployment shop/pay crash-loops"},
			"pay",
		},
		"out of memory, restart, crash loop": {
			[]*eventv1.Event{on(0, "k8s.pod.oom_killed", podA), on(s, "k8s.pod.restarted", podA), on(20*s, "k8s.pod.crash_loop_back_off", podA)},
			[]string{"deployment shop/pay crash-loops, most likely because deployment shop/pay was killed for using more memory than its limit"},
			"pay",
		},
		"another image, cannot be pulled, not ready": {
			[]*eventv1.Event{
				on(0, "k8s.deployment.image_changed", "d/pay"), on(3*s, "", podA, reason("Failed", "Failed to pull image \"x\"")),
				on(5*s, "k8s.pod.image_pull_back_off", podA), on(6*s, "k8s.pod.not_ready", podA),
			},
			[]string{"deployment shop/pay cannot pull its image x, most likely because deployment shop/pay was given another image"},
			"pay",
		},
		"another configuration, crash loop": {
			[]*eventv1.Event{on(0, "k8s.deployment.config_changed", "d/pay"), on(9*s, "k8s.pod.restarted", podA), on(30*s, "k8s.pod.crash_loop_back_off", podB)},
			[]string{"deployment shop/pay crash-loops, most likely because deployment shop/pay was given another configuration"},
			"pay",
		},
		"node lost, pods evicted, pending": {
			[]*eventv1.Event{
				on(0, "k8s.node.not_ready", "n/n1"), on(40*s, "k8s.pod.evicted", podA, node("n1")), on(41*s, "k8s.pod.evicted", cart, node("n1")),
				on(45*s, "k8s.pod.unschedulable", podB),
			},
			[]string{"node n1 is not ready"},
			"n1",
		},
		"node lost, one event of the pod names it": {
			[]*eventv1.Event{
				on(0, "k8s.node.not_ready", "n/n1"), on(s, "k8s.pod.not_ready", podA, node("n1")),
				on(2*s, "", podA, reason("NodeNotReady", "Node is not ready")), on(40*s, "k8s.pod.evicted", podA),
			},
			[]string{"node n1 is not ready"},
			"n1",
		},
		"node lost, the event that names it comes last": {
			[]*eventv1.Event{
				on(0, "k8s.node.not_ready", "n/n1"), on(2*s, "", podA, reason("NodeNotReady", "Node is not ready")),
				on(40*s, "k8s.pod.evicted", podA), on(s, "k8s.pod.not_ready", podA, node("n1")),
			},
			[]string{"node n1 is not ready", "deployment shop/pay was evicted, most likely because node n1 is not ready"},
			"n1", // the second is closed
		},
		"cannot be scheduled": {
			[]*eventv1.Event{on(0, "", podA, reason("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu."))},
			[]string{"deployment shop/pay cannot be scheduled"},
			"pay",
		},
		"callers fail after the crash": {
			[]*eventv1.Event{on(0, "k8s.pod.oom_killed", podA), on(4*s, "", cart, failedCall("pay"))},
			[]string{"deployment shop/pay was killed for using more memory than its limit"},
			"pay",
		},
		"two workloads on one node stay apart": {
			[]*eventv1.Event{on(0, "k8s.pod.crash_loop_back_off", podA, node("n1")), on(s, "k8s.pod.crash_loop_back_off", cart, node("n1"))},
			[]string{"deployment shop/pay crash-loops", "deployment shop/cart crash-loops"},
			"pay",
		},
		"a cause too long ago is none": {
			[]*eventv1.Event{on(0, "k8s.deployment.image_changed", "d/pay"), on(time.Hour, "k8s.pod.crash_loop_back_off", podA)},
			[]string{"deployment shop/pay crash-loops"},
			"pay",
		},
		"a cause of another workload is none": {
			[]*eventv1.Event{on(0, "k8s.deployment.image_changed", "d/other"), on(s, "k8s.pod.crash_loop_back_off", podA)},
			[]string{"deployment shop/pay crash-loops"},
			"pay",
		},
		"a late cause explains": {
			[]*eventv1.Event{on(5*s, "k8s.pod.crash_loop_back_off", podA), on(0, "k8s.deployment.config_changed", "d/pay")},
			[]string{"deployment shop/pay crash-loops, most likely because deployment shop/pay was given another configuration"},
			"pay",
		},
		"a late cause explains what seems to come before it": {
			[]*eventv1.Event{on(0, "k8s.pod.evicted", podA, node("n1")), on(s/2, "k8s.node.not_ready", "n/n1")},
			[]string{"node n1 is not ready"},
			"n1",
		},
		"an hour before is another incident": {
			[]*eventv1.Event{on(time.Hour, "k8s.pod.crash_loop_back_off", podA), on(0, "k8s.pod.unschedulable", podA)},
			[]string{"deployment shop/pay crash-loops", "deployment shop/pay cannot be scheduled"},
			"pay",
		},
		"changes alone are no news":              {[]*eventv1.Event{on(0, "k8s.deployment.scaled", "d/pay"), on(s, "k8s.deployment.image_changed", "d/pay")}, nil, ""},
		"a lone warning is no news":              {[]*eventv1.Event{on(0, "app.log", podA)}, nil, ""},
		"a lone restart is no news":              {[]*eventv1.Event{on(0, "k8s.pod.restarted", podA)}, nil, ""},
		"what a pipeline made is no observation": {[]*eventv1.Event{on(0, "millrace.insight", podA)}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := last(process(t, newStage(t, realtimeOnly), tc.events...).insights)
			var titles []string
			for _, e := range got {
				titles = append(titles, e.GetInsight().GetTitle())
			}
			if diff := cmp.Diff(tc.want, titles); diff != "" {
				t.Fatalf("insights (-want +got):\n%s", diff)
			}
			if len(got) == 0 {
				return
			}
			in := got[0].GetInsight()
			if in.GetRootCause().GetName() != tc.root || len(in.GetEvidence()) == 0 || in.GetSummary() == "" || in.GetConfidence() <= 0 {
				t.Errorf("insight: %v", in)
			}
		})
	}
}

func TestManyFailedCallsAreAnIncident(t *testing.T) {
	var events []*eventv1.Event
	for i := range manyErrors - 1 {
		events = append(events, on(time.Duration(i)*time.Second, fmt.Sprint(i), cart, failedCall("pay")))
	}
	if got := process(t, newStage(t, realtimeOnly), events...).insights; len(got) != 0 {
		t.Fatalf("%d failed calls made %d insights", len(events), len(got))
	}
	events = append(events, on(manyErrors*time.Second, "one more", cart, failedCall("pay")))
	if got := last(process(t, newStage(t, realtimeOnly), events...).insights); len(got) != 1 {
		t.Errorf("%d failed calls made %d insights, want 1", len(events), len(got))
	}
}

// TestFailedCallsAreOneIncident: all that follow the first ten belong to it.
func TestFailedCallsAreOneIncident(t *testing.T) {
	var events []*eventv1.Event
	for i := range 200 {
		events = append(events, on(time.Duration(i)*time.Second, fmt.Sprint(i), cart, failedCall("pay")))
	}
	got := last(process(t, newStage(t, realtimeOnly), events...).insights)
	if len(got) != 1 {
		t.Fatalf("%d insights, want 1", len(got))
	}
	if in := got[0].GetInsight(); in.GetCount() != 200 || len(in.GetEvidence()) < manyErrors {
		t.Errorf("%d events, %d as evidence", in.GetCount(), len(in.GetEvidence()))
	}
}

// TestFailedCallFollowsACrash: which services a crash is one of.
func TestFailedCallFollowsACrash(t *testing.T) {
	type mends []func(*eventv1.Event)
	for name, tc := range map[string]struct {
		crash, call mends
		want        stage.Verdict
	}{
		"of the workload's name":              {nil, nil, stage.Emit},
		"of another service":                  {mends{behind("else")}, nil, stage.Filter},
		"of a service of its pod":             {mends{behind("pay")}, nil, stage.Emit},
		"of the second service of its pod":    {mends{behind("metrics", "pay")}, nil, stage.Emit},
		"of its service.name":                 {mends{behind("pay-svc"), resource("service.name", "pay")}, nil, stage.Emit},
		"in another namespace":                {mends{namespace("staging")}, mends{namespace("prod"), attribute("server.address", "pay")}, stage.Filter},
		"in a namespace that nobody tells":    {mends{namespace("staging")}, mends{namespace("prod")}, stage.Emit},
		"called by address":                   {mends{namespace("staging")}, mends{namespace("prod"), attribute("server.address", "10.0.0.7")}, stage.Emit},
		"called by the name of its Service":   {mends{namespace("staging")}, mends{namespace("prod"), attribute("server.address", "pay-svc.staging.svc.cluster.local")}, stage.Emit},
		"in the namespace that is called":     {mends{namespace("staging")}, mends{namespace("prod"), attribute("server.address", "pay.staging.svc")}, stage.Emit},
		"in a namespace that is not called":   {nil, mends{attribute("server.address", "pay.staging.svc.cluster.local")}, stage.Filter},
		"called by a name outside of cluster": {nil, mends{attribute("server.address", "pay.example.com")}, stage.Emit},
		"by a caller of no namespace":         {nil, mends{namespace("")}, stage.Emit},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				s, m := newStage(t, realtimeOnly), &made{}
				crash := on(0, "k8s.pod.crash_loop_back_off", podA, tc.crash...)
				call := on(time.Second, "", cart, append(mends{failedCall("pay")}, tc.call...)...)
				if late {
					step(t, s, m, time.Second, call)
					step(t, s, m, 2*time.Second, crash)
					step(t, s, m, 2*time.Second+rules[signalCrashLoop].hold)
					count := uint32(1)
					if tc.want == stage.Emit {
						count = 2
					}
					if got := last(m.insights); len(got) != 1 || got[0].GetInsight().GetCount() != count {
						t.Errorf("insights when the crash comes late: %v", got)
					}
					continue
				}
				step(t, s, m, 0, crash)
				step(t, s, m, time.Second, call)
				if got := m.verdicts[1]; got != tc.want {
					t.Errorf("the failed request is %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestServicesAreBounded: a pod behind any number of services is remembered under a few.
func TestServicesAreBounded(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint("s", i))
	}
	s := newStage(t, realtimeOnly)
	process(t, s, on(0, "k8s.pod.crash_loop_back_off", podA, behind(names...)))
	if n := s.realtime.memory.entities.Len(); n != 2+maxServices {
		t.Errorf("%d entities remembered", n)
	}
}

// TestManyFailedCallsOfOneNamespace: those to a service of the same name elsewhere do not count.
func TestManyFailedCallsOfOneNamespace(t *testing.T) {
	var events []*eventv1.Event
	for i := range 2 * (manyErrors - 1) {
		events = append(events, on(time.Duration(i)*time.Second, fmt.Sprint(i), cart, failedCall("pay"), namespace([]string{"prod", "staging"}[i%2]), attribute("server.address", "pay")))
	}
	if got := process(t, newStage(t, realtimeOnly), events...).insights; len(got) != 0 {
		t.Errorf("insights: %v", got)
	}
	for name, mend := range map[string]func(i int) []func(*eventv1.Event){
		"services of three namespaces": func(i int) []func(*eventv1.Event) {
			return []func(*eventv1.Event){namespace([]string{"prod", "staging", "test"}[i%3]), attribute("server.address", "pay")}
		},
		"one service, called from three": func(i int) []func(*eventv1.Event) {
			return []func(*eventv1.Event){namespace([]string{"prod", "staging", "test"}[i%3])}
		},
	} {
		events = events[:0]
		for i := range 120 {
			events = append(events, on(time.Duration(i)*300*time.Millisecond, fmt.Sprint(i), cart, append(mend(i), failedCall("pay"))...))
		}
		want := map[string]int{"services of three namespaces": 3, "one service, called from three": 1}[name]
		if got := last(process(t, newStage(t, realtimeOnly), events...).insights); len(got) != want {
			t.Errorf("%s: %d incidents, want %d", name, len(got), want)
		}
	}
}

// TestCauseInTheOwnNamespace: of two that a call may have met, the one in its own namespace.
func TestCauseInTheOwnNamespace(t *testing.T) {
	m := process(t, newStage(t, realtimeOnly),
		on(0, "k8s.pod.crash_loop_back_off", podA, namespace("prod")),
		on(time.Second, "k8s.pod.crash_loop_back_off", podA, namespace("staging")),
		on(2*time.Second, "", cart, failedCall("pay"), namespace("prod")))
	for _, e := range last(m.insights) {
		in := e.GetInsight()
		if want := map[string]uint32{"prod": 2, "staging": 1}[in.GetRootCause().GetNamespace()]; in.GetCount() != want {
			t.Errorf("incident of %v: %d events, want %d", in.GetRootCause(), in.GetCount(), want)
		}
	}
}

// TestClusters: names are those of a cluster. An event that names none may be of any.
func TestClusters(t *testing.T) {
	s := time.Second
	crash := "k8s.pod.crash_loop_back_off"
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		want   []string
	}{
		"nodes of the same name": {
			[]*eventv1.Event{on(0, "k8s.node.not_ready", "n/n1", in("eu")), on(30*s, "k8s.pod.evicted", podA, in("us"), node("n1"))},
			[]string{"eu 1 node n1 is not ready", "us 1 deployment shop/pay was evicted"},
		},
		"workloads of the same name": {
			[]*eventv1.Event{on(0, "k8s.deployment.image_changed", "d/pay", in("eu")), on(30*s, crash, podA, in("us"))},
			[]string{"us 1 deployment shop/pay crash-loops"},
		},
		"both at once": {
			[]*eventv1.Event{on(0, crash, podA, in("eu")), on(s, crash, podA, in("us")), on(2*s, crash, podA, in("eu")), on(3*s, crash, podA, in("us"))},
			[]string{"eu 2 deployment shop/pay crash-loops", "us 2 deployment shop/pay crash-loops"},
		},
		"pods of the same name": {
			[]*eventv1.Event{
				on(0, "k8s.node.not_ready", "n/n1"), on(s, "k8s.pod.not_ready", podA, in("eu"), node("n1")), on(40*s, "k8s.pod.evicted", podA, in("us")),
			},
			[]string{" 2 node n1 is not ready", "us 1 deployment shop/pay was evicted"},
		},
		"services of the same name": {
			[]*eventv1.Event{on(0, crash, podA, in("eu")), on(s, "", cart, failedCall("pay"), in("us"))},
			[]string{"eu 1 deployment shop/pay crash-loops"},
		},
		"by the resource": {
			[]*eventv1.Event{on(0, "k8s.pod.oom_killed", podA, in("eu")), on(s, crash, podA, resource("k8s.cluster.name", "us"))},
			[]string{"eu 1 deployment shop/pay was killed for using more memory than its limit", "us 1 deployment shop/pay crash-loops"},
		},
		"a cluster that is not known": {
			[]*eventv1.Event{on(0, crash, podA, in("eu")), on(s, "", cart, failedCall("pay")), on(3*s, "app.log", podA)},
			[]string{"eu 2 deployment shop/pay crash-loops"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range last(process(t, newStage(t, realtimeOnly), tc.events...).insights) {
				in := e.GetInsight()
				got = append(got, fmt.Sprint(in.GetRootCause().GetCluster(), " ", in.GetCount(), " ", in.GetTitle()))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("insights (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("windows", func(t *testing.T) {
		got := process(t, newStage(t, config.Correlate{Window: &config.CorrelateWindow{MinEvents: 2}}),
			on(0, crash, podA, in("eu")), on(1, crash, podA, in("us")), on(2, crash, podB, in("us"))).groups
		if len(got) != 1 || got[0].GetEntity().GetCluster() != "us" {
			t.Errorf("groups: %v", got)
		}
	})
	t.Run("windows of events that do not all tell", func(t *testing.T) {
		got := process(t, newStage(t, config.Correlate{Window: &config.CorrelateWindow{MinEvents: 3}}),
			on(0, "app.log", podA), on(1, crash, podA, in("us")), on(2, "app.log", podA), on(3, crash, podA, in("eu"))).groups
		if len(got) != 1 || len(got[0].GetCorrelation().GetLinks()) != 3 {
			t.Errorf("groups: %v", got)
		}
	})
}

// TestFailedCallsOfTracesAreAnIncident: a failure that comes up through the callers of a service is
// counted as one that nothing is known of.
func TestFailedCallsOfTracesAreAnIncident(t *testing.T) {
	s, m := newStage(t, realtimeOnly), &made{}
	for i := range 100 {
		traced := func(e *eventv1.Event) { e.TraceId = fmt.Appendf(nil, "trace-%010d", i) }
		after := time.Duration(i) * 500 * time.Millisecond
		step(t, s, m, after, on(after, fmt.Sprint("db", i), podA, failedCall("db"), traced),
			on(after+time.Millisecond, fmt.Sprint("pay", i), cart, failedCall("pay"), traced))
	}
	got := last(append(m.insights, process(t, s).insights...))
	if len(got) != 1 {
		t.Fatalf("%d incidents, want 1", len(got))
	}
	if n := got[0].GetInsight().GetCount(); n < 160 {
		t.Errorf("the incident holds %d events", n)
	}
}

// TestLinksDoNotLiftTheLimit: a full incident takes no more, whatever causes what.
func TestLinksDoNotLiftTheLimit(t *testing.T) {
	s := newStage(t, realtimeOnly)
	var all []*incident
	for i := range 3 * maxIncidentEvents {
		kind := []string{"k8s.pod.oom_killed", "k8s.pod.restarted", "k8s.pod.crash_loop_back_off"}[i%3]
		process(t, s, on(time.Duration(i)*10*time.Millisecond, kind, podA))
		inc, _ := s.realtime.open.Get("w/shop/pay")
		if inc = inc.find(); !slices.Contains(all, inc) {
			all = append(all, inc)
		}
		if inc.count > maxIncidentEvents {
			t.Fatalf("after %d events the incident holds %d", i+1, inc.count)
		}
	}
	if len(all) < 3 || len(all) > 6 {
		t.Errorf("%d events are %d incidents", 3*maxIncidentEvents, len(all))
	}
}

// TestFullIncidentHasOneSuccessor: also of events that make no incident that of their workload.
func TestFullIncidentHasOneSuccessor(t *testing.T) {
	s := time.Second
	evictions := func(n int, from time.Duration) (events []*eventv1.Event) {
		for i := range n {
			events = append(events, on(from+time.Duration(i)*s, "k8s.pod.evicted", fmt.Sprint("p", i), node("n1")))
		}
		return events
	}
	lost := []*eventv1.Event{on(0, "k8s.node.not_ready", "n/n1")}
	for i := range maxIncidentEvents - 1 {
		lost = append(lost, on(s+time.Duration(i)*time.Millisecond, "k8s.pod.not_ready", fmt.Sprint("p", i), node("n1")))
	}
	var flapping []*eventv1.Event
	for i := range 31 {
		flapping = append(flapping, on(time.Duration(i)*4*time.Minute, "k8s.node.not_ready", "n/n1"))
	}
	crash := []*eventv1.Event{on(0, "k8s.pod.crash_loop_back_off", podA)}
	for i := range 2 * maxIncidentEvents {
		crash = append(crash, on(s+time.Duration(i)*time.Millisecond, fmt.Sprint(i), cart, failedCall("pay")))
	}
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		want   int
	}{
		"a node is lost, its pods are evicted":         {append(lost, evictions(50, time.Minute)...), 2},
		"a node flaps for hours, its pods are evicted": {append(flapping, evictions(30, maxIncidentLife+time.Minute)...), 2},
		"requests fail after a crash":                  {crash, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s, ids := newStage(t, realtimeOnly), map[string]bool{}
			for _, e := range tc.events {
				b := batch(t, e)
				b.Now = time.Unix(0, int64(e.GetTimeUnixNano()))
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if c, ok := b.Events[0].Correlation(); ok {
					ids[c.IncidentID] = true
				}
			}
			if len(ids) != tc.want {
				t.Errorf("%d incidents, want %d", len(ids), tc.want)
			}
		})
	}
}

// TestChainsEnd: a probe fails, the container restarts, the probe fails ...
func TestChainsEnd(t *testing.T) {
	s := newStage(t, realtimeOnly)
	for i := range 500 {
		e := on(time.Duration(i)*20*time.Second, "k8s.pod.restarted", podA)
		if i%2 == 0 {
			e = on(time.Duration(i)*20*time.Second, "", podA, reason("Unhealthy", "Readiness probe failed"))
		}
		process(t, s, e)
	}
	for o := range s.realtime.memory.all("p/shop/" + podA) {
		n := 0
		for x := o; x.cause != nil; x = x.cause {
			n++
		}
		if n >= maxChain {
			t.Errorf("a chain of %d causes", n)
		}
	}
}

// TestOneWrongClock: a host whose clock is wrong ends no window and no incident of others.
func TestOneWrongClock(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead time.Duration
		every int // of the steps
		burst int // events of a step
	}{
		"a year ahead":               {365 * 24 * time.Hour, 4, 1},
		"a year ahead, many at once": {365 * 24 * time.Hour, 40, jumpVotes},
		"half an hour ahead":         {30 * time.Minute, 4, 1},
		"two hours behind":           {-2 * time.Hour, 4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}}
			s, m := newStage(t, c), &made{}
			for i := range 40 {
				after := time.Duration(i) * 100 * time.Millisecond
				step(t, s, m, after, on(after, "k8s.pod.crash_loop_back_off", podA))
				if i%tc.every == 1 {
					var wrong []*eventv1.Event
					for k := range tc.burst {
						wrong = append(wrong, on(after+tc.ahead+time.Duration(k), "k8s.pod.crash_loop_back_off", cart))
					}
					step(t, s, m, after, wrong...)
				}
			}
			if len(m.groups) != 0 {
				t.Errorf("a window closed early: %v", m.groups)
			}
			step(t, s, m, time.Minute)
			for _, e := range m.insights {
				if in := e.GetInsight(); in.GetStatus() == "closed" {
					t.Errorf("closed: %s", e.GetBody())
				}
			}
			if n := len(last(m.insights)); n != 2 {
				t.Errorf("%d incidents of 2 workloads", n)
			}
			if len(m.groups) == 0 || !strings.HasPrefix(m.groups[len(m.groups)-1].GetBody(), "40 notable events of deployment shop/pay") {
				t.Errorf("groups at the end: %v", m.groups)
			}
		})
	}
}

// TestHostBehind: what comes late from one host goes on to be one incident.
func TestHostBehind(t *testing.T) {
	s, m := newStage(t, realtimeOnly), &made{}
	for i := range 20 {
		after := time.Duration(i) * 30 * time.Second
		step(t, s, m, after, on(after, "k8s.pod.crash_loop_back_off", cart))
		step(t, s, m, after+time.Second, on(after-20*time.Minute, "k8s.pod.crash_loop_back_off", podA))
	}
	if n := len(last(m.insights)); n != 2 {
		t.Errorf("%d incidents of 2 workloads that crash-loop", n)
	}
}

func TestClock(t *testing.T) {
	h := int64(time.Hour)
	steps := func(first, from, by int64) []int64 {
		times := []int64{first}
		for i := range int64(jumpVotes) {
			times = append(times, from+i*by)
		}
		return times
	}
	for name, tc := range map[string]struct {
		times []int64
		from  int64 // the stream time of the first
		every int64
		want  int64
	}{
		"forward":                   {[]int64{10 * h, 10*h + 5, 10 * h}, 11 * h, 1, 10*h + 5},
		"ahead of stream time":      {[]int64{10 * h, 10*h + h/2, 10 * h}, 10 * h, 1, 10*h + 1},
		"far ahead of stream time":  {[]int64{900 * h, 10 * h, 900 * h}, 10 * h, 1, 10*h + 2},
		"one far behind":            {[]int64{10 * h, h, 10*h + 1}, 11 * h, 1, 10*h + 1},
		"eight elsewhere":           {[]int64{10 * h, 20 * h, 20 * h, 20 * h, 20 * h, 20 * h, 20 * h, 20 * h, 20*h + 1}, 21 * h, 1, 20*h + 1},
		"eight that do not agree":   {[]int64{20 * h, h, 3 * h, 5 * h, 7 * h, 9 * h, 11 * h, 13 * h, 15 * h}, 21 * h, 1, 20 * h},
		"the first was far behind":  {[]int64{h, 9 * h, 9 * h, 9 * h, 9 * h, 9 * h, 9 * h, 9 * h, 9*h + 1}, 10 * h, 1, 9*h + 1},
		"input that is played anew": {[]int64{20 * h, h, h, h, h, h, h, h, h + 1}, 21 * h, 1, h + 1},
		"seldom, behind":            {steps(20*h, h, h/6), 21 * h, 1, h + 7*(h/6)},
		"seldom, ahead":             {steps(h, 3*h, h/6), 21 * h, 1, 3*h + 7*(h/6)},
		"very seldom, ahead":        {steps(h, 3*h, 2*h), 41 * h, 1, 3*h + 7*2*h},
		"after a silence":           {[]int64{10 * h, 9*h + 1}, 11 * h, h, 9*h + 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := clock{silence: h / 4}
			for i, at := range tc.times {
				c.see(at, tc.from+int64(i)*tc.every)
			}
			if c.latest != tc.want {
				t.Errorf("event time is %d, want %d", c.latest, tc.want)
			}
		})
	}
}

// TestAbsorbedIncidentIsClosed: people were told of two that turn out to be one.
func TestAbsorbedIncidentIsClosed(t *testing.T) {
	s := time.Second
	got := last(process(t, newStage(t, realtimeOnly),
		on(0, "k8s.node.not_ready", "n/n1"), on(2*s, "", podA, reason("NodeNotReady", "Node is not ready")),
		on(40*s, "k8s.pod.evicted", podA), on(s, "k8s.pod.not_ready", podA, node("n1"))).insights)
	if len(got) != 2 {
		t.Fatalf("%d insights, want 2", len(got))
	}
	into, lost := got[0], got[1]
	if n := into.GetInsight().GetCount(); n != 4 {
		t.Errorf("the incident holds %d events, want 4", n)
	}
	want := "Part of incident " + into.GetCorrelation().GetIncidentId() + "."
	if in := lost.GetInsight(); in.GetStatus() != "closed" || in.GetRevision() != 2 || !strings.HasSuffix(in.GetSummary(), want) {
		t.Errorf("got %s, revision %d: %s", in.GetStatus(), in.GetRevision(), in.GetSummary())
	}
}

func TestEvidenceAndAnnotation(t *testing.T) {
	s := newStage(t, realtimeOnly)
	oom, crash := on(0, "k8s.pod.oom_killed", podA), on(10*time.Second, "k8s.pod.crash_loop_back_off", podA)
	b := batch(t, oom, crash, on(11*time.Second, "app.log", "else", func(e *eventv1.Event) { e.SeverityNumber = 9 }))
	if err := s.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if b.Decision(0).Verdict != stage.Emit || b.Decision(1).Verdict != stage.Emit || b.Decision(2).Verdict != stage.Filter {
		t.Errorf("verdicts: %v %v %v", b.Decision(0), b.Decision(1), b.Decision(2))
	}
	p, err := b.Events[1].ToProto()
	if err != nil {
		t.Fatal(err)
	}
	c := p.GetCorrelation()
	if c.GetCausationId() != oom.GetId() || c.GetIncidentId() == "" || len(c.GetLinks()) != 1 || c.GetLinks()[0].GetDeltaNs() != int64(10*time.Second) {
		t.Errorf("correlation: %v", c)
	}
	insight := b.Produced()[0].Event.GetInsight()
	var ids []string
	for _, e := range insight.GetEvidence() {
		ids = append(ids, e.GetEventId())
	}
	if diff := cmp.Diff([]string{oom.GetId(), crash.GetId()}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestRevisions(t *testing.T) {
	s := newStage(t, realtimeOnly)
	var events []*eventv1.Event
	for i := range 100 {
		events = append(events, on(time.Duration(i)*time.Second, "k8s.pod.crash_loop_back_off", podA))
	}
	got := process(t, s, events...).insights
	if n := len(got); n != 2 { // when it has lasted, and the last
		t.Errorf("%d revisions for 100 events, want 2", n)
	}
	for i, e := range got {
		if e.GetInsight().GetRevision() != uint32(i+1) || e.GetId() != got[0].GetId() {
			t.Errorf("revision %d: %v", i+1, e)
		}
	}
	if n := got[len(got)-1].GetInsight().GetCount(); n != 100 {
		t.Errorf("the last revision counts %d events", n)
	}
}

// TestRootsThatDrawLevel: people hear of another root when it says something else, and has more than one
// link more.
func TestRootsThatDrawLevel(t *testing.T) {
	s := time.Second
	inTurns := func(n int, what ...func(time.Duration) *eventv1.Event) (events []*eventv1.Event) {
		for i := range n {
			events = append(events, what[i%len(what)](10*s+time.Duration(i)*5*s))
		}
		return events
	}
	crash := func(pod string) func(time.Duration) *eventv1.Event {
		return func(after time.Duration) *eventv1.Event { return on(after, "k8s.pod.crash_loop_back_off", pod) }
	}
	restart := func(after time.Duration) *eventv1.Event { return on(after, "k8s.pod.restarted", podB) }
	a, b := crash(podA), crash(podB)
	oom, probe := on(0, "k8s.pod.oom_killed", podA), on(s, "", podB, reason("Unhealthy", "Liveness probe failed"))
	oomB := on(s, "k8s.pod.oom_killed", podB)
	for name, tc := range map[string]struct {
		before, then []*eventv1.Event
		want         []uint32 // counts of the insights
	}{
		"pods of a workload in turns":      {[]*eventv1.Event{oom, oomB}, inTurns(94, a, b, b, a), []uint32{1, 12, 96}},
		"pods of a workload, ahead by two": {[]*eventv1.Event{oom, oomB}, inTurns(94, a, a, b, b, b, b, a, a), []uint32{1, 12, 96}},
		"two kinds in turns":               {[]*eventv1.Event{oom, probe}, inTurns(94, a, restart, restart, a), []uint32{1, 12, 96}},
		"one of two kinds has more":        {[]*eventv1.Event{oom, a(s), probe}, inTurns(12, restart), []uint32{1, 13, 15}},
	} {
		t.Run(name, func(t *testing.T) {
			var counts []uint32
			for _, e := range process(t, newStage(t, realtimeOnly), append(tc.before, tc.then...)...).insights {
				counts = append(counts, e.GetInsight().GetCount())
			}
			if diff := cmp.Diff(tc.want, counts); diff != "" {
				t.Errorf("events of each insight (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdleIncidentIsClosed(t *testing.T) {
	s := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{IncidentIdle: config.Duration(time.Minute)}})
	got := process(t, s, on(0, "k8s.pod.crash_loop_back_off", podA), on(2*time.Minute, "k8s.pod.crash_loop_back_off", cart)).insights
	if n := len(got); n != 3 || got[1].GetInsight().GetStatus() != "closed" || got[1].GetId() != got[0].GetId() {
		t.Errorf("insights: %v", got)
	}
}

// TestClosedIncidentStaysClosed: what comes after it is an incident of its own, with the cause that it
// has in the one before.
func TestClosedIncidentStaysClosed(t *testing.T) {
	m := time.Minute
	for name, tc := range map[string]struct {
		first, after *eventv1.Event
		want         []string
	}{
		"an effect of it":      {on(0, "k8s.pod.oom_killed", podA), on(3*m, "k8s.pod.crash_loop_back_off", podA), []string{"open", "closed", "open", "closed"}},
		"a cause that is late": {on(0, "k8s.pod.crash_loop_back_off", podA), on(-10*time.Second, "k8s.deployment.config_changed", "d/pay"), []string{"open", "closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, got := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{IncidentIdle: config.Duration(m)}}), &made{}
			step(t, s, got, 0, tc.first)
			step(t, s, got, 2*m)
			step(t, s, got, 3*m, tc.after)
			for i := range 60 {
				step(t, s, got, time.Duration(4+i)*m)
			}
			var statuses []string
			for _, e := range got.insights {
				statuses = append(statuses, e.GetInsight().GetStatus())
			}
			if diff := cmp.Diff(tc.want, statuses); diff != "" {
				t.Errorf("insights (-want +got):\n%s", diff)
			}
			if n := len(last(got.insights)); n != len(tc.want)/2 {
				t.Errorf("%d incidents", n)
			}
		})
	}
}

// TestIncidentsHaveTheirOwnID: also when events have none, and when one like it comes after its incident
// is over.
func TestIncidentsHaveTheirOwnID(t *testing.T) {
	anonymous := func(e *eventv1.Event) { e.Id = "" }
	for name, events := range map[string][2]*eventv1.Event{
		"no ids":         {on(0, "k8s.pod.crash_loop_back_off", podA, anonymous), on(0, "k8s.pod.crash_loop_back_off", cart, anonymous)},
		"the same later": {on(0, "k8s.pod.crash_loop_back_off", podA), on(17*time.Minute, "k8s.pod.crash_loop_back_off", podA)},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newStage(t, realtimeOnly), &made{}
			step(t, s, m, 0, events[0])
			step(t, s, m, 16*time.Minute)
			step(t, s, m, 17*time.Minute, events[1])
			step(t, s, m, 18*time.Minute)
			ids := map[string]bool{}
			for _, e := range m.insights {
				ids[e.GetId()+e.GetCorrelation().GetIncidentId()] = true
			}
			if len(m.insights) != 3 || len(ids) != 2 {
				t.Errorf("%d insights, %d ids: %v", len(m.insights), len(ids), m.insights)
			}
		})
	}
}

// TestDisplacedIncidentIsClosed: the workload's next incident begins before the clock closed
// the one before.
func TestDisplacedIncidentIsClosed(t *testing.T) {
	s := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{IncidentIdle: config.Duration(time.Minute)}})
	got := last(process(t, s, on(0, "k8s.pod.oom_killed", podA), on(10*time.Minute, "k8s.pod.oom_killed", podB)).insights)
	if len(got) != 2 || got[0].GetInsight().GetStatus() != "closed" || got[1].GetInsight().GetStatus() != "open" {
		t.Errorf("insights: %v", got)
	}
}

// TestAFloodPushesOutNoCause: many failed requests to a service, then another crash of what
// is behind it; and the events of all pods of a node, which are no cause of each other.
func TestAFloodPushesOutNoCause(t *testing.T) {
	s := newStage(t, realtimeOnly)
	events := []*eventv1.Event{on(0, "k8s.node.not_ready", "n/n1")}
	for i := range 3 * ringSize {
		events = append(events, on(time.Duration(i)*time.Second, "k8s.pod.not_ready", fmt.Sprint("p", i), node("n1")))
	}
	events = append(events, on(time.Minute, "k8s.pod.evicted", podA, node("n1")))
	got := last(process(t, s, events...).insights)
	if len(got) != 1 || got[0].GetInsight().GetRootCause().GetName() != "n1" {
		t.Errorf("insights: %v", got)
	}
}

func TestNormalReasonOfANode(t *testing.T) {
	s := newStage(t, realtimeOnly)
	got := last(process(t, s, on(0, "", "n/n1", reason("NodeNotReady", "Node n1 status is now: NodeNotReady"), func(e *eventv1.Event) { e.SeverityNumber = 9 }),
		on(time.Minute, "k8s.pod.evicted", podA, node("n1"))).insights)
	if len(got) != 1 || got[0].GetInsight().GetRootCause().GetName() != "n1" {
		t.Errorf("insights: %v", got)
	}
}

func TestSameInputSameInsights(t *testing.T) {
	run := func() []*eventv1.Event {
		var events []*eventv1.Event
		for i := range 40 {
			pod := fmt.Sprintf("w%d-6d4cf56db6-x2x9q", i%7)
			events = append(events, on(time.Duration(i)*time.Second, []string{"k8s.pod.oom_killed", "k8s.pod.restarted", "k8s.pod.crash_loop_back_off"}[i%3], pod))
		}
		m := process(t, newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}}), events...)
		return append(m.insights, m.groups...)
	}
	if diff := cmp.Diff(run(), run(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestEntitiesAreBounded(t *testing.T) {
	s := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{MaxEntities: 10}})
	for i := range 100 {
		process(t, s, on(time.Duration(i)*time.Second, "k8s.pod.crash_loop_back_off", fmt.Sprint("p", i)))
	}
	if n := s.realtime.memory.entities.Len(); n > 10 {
		t.Errorf("%d entities remembered", n)
	}
}

// TestEntitiesAreForgotten: what nothing was seen of for the span takes no memory.
func TestEntitiesAreForgotten(t *testing.T) {
	s := newStage(t, realtimeOnly)
	for i := range 100 {
		b := batch(t, on(time.Duration(i)*time.Minute, "k8s.pod.crash_loop_back_off", fmt.Sprint("p", i), node("n1")))
		b.Now = start.Add(time.Duration(i) * time.Minute)
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	// 10 minutes: 11 pods with their workloads and services, and the node.
	if n := s.realtime.memory.entities.Len(); n > 11*3+1 {
		t.Errorf("%d entities remembered", n)
	}
	flush(t, s, start.Add(3*time.Hour))
	if m := s.realtime.memory; m.entities.Len() != 0 || m.held != 0 || len(s.realtime.followed) != 0 || s.realtime.open.Len() != 0 {
		t.Errorf("after a silence: %d entities, %d observations, %d and %d incidents", m.entities.Len(), m.held, len(s.realtime.followed), s.realtime.open.Len())
	}
}

// TestObservationsAreBounded: a flood about a few entities makes room as one about many does.
func TestObservationsAreBounded(t *testing.T) {
	s := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{MaxEntities: 100}})
	for i := range 5000 {
		process(t, s, on(time.Duration(i)*time.Millisecond, []string{"k8s.pod.oom_killed", "k8s.pod.restarted", "app.log"}[i%3], fmt.Sprint("p", i%50)))
	}
	held := 0
	for _, key := range s.realtime.memory.entities.Keys() {
		e, _ := s.realtime.memory.entities.Peek(key)
		for _, r := range e.rings {
			held += r.held
		}
	}
	if m := s.realtime.memory; held != m.held || held > m.maxHeld {
		t.Errorf("%d observations held, counted %d, at most %d", held, m.held, m.maxHeld)
	}
}

// TestIncidentEndsWhenNothingComes: no later event moves event time, but stream time goes on.
func TestIncidentEndsWhenNothingComes(t *testing.T) {
	s := newStage(t, realtimeOnly)
	if err := s.Process(t.Context(), batch(t, on(-time.Hour, "k8s.pod.crash_loop_back_off", podA))); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{time.Minute, 1}, {15 * time.Minute, 0}, {15*time.Minute + time.Second, 1}, {time.Hour, 0}} {
		if got := flush(t, s, start.Add(tc.after)); len(got) != tc.want {
			t.Errorf("after %s: %d insights, want %d", tc.after, len(got), tc.want)
		}
	}
}

// TestWindowsAreBounded: groups that are not full hold so many events at most.
func TestWindowsAreBounded(t *testing.T) {
	s := newStage(t, config.Correlate{Window: &config.CorrelateWindow{MaxEvents: 10_000}})
	o := make([]*observation, 100)
	for i := range o {
		o[i] = &observation{subject: &eventv1.EntityRef{Name: fmt.Sprint(i)}, time: start.UnixNano(), seen: start.UnixNano()}
	}
	b := batch(t, on(0, "app.log", podA))
	for i := range maxHeld + 10 {
		s.windows.take(b, &b.Events[0], o[i%len(o)])
	}
	if s.windows.held != maxHeld {
		t.Errorf("%d events held", s.windows.held)
	}
	if got := s.windows.close(start.UnixNano(), true); len(got) != 100 || s.windows.held != 0 {
		t.Errorf("%d groups, %d events are left", len(got), s.windows.held)
	}
}

func flush(t testing.TB, s *correlator, now time.Time) []stage.Produced {
	t.Helper()
	b := &stage.Batch{}
	b.Reset(1)
	if err := s.Flush(t.Context(), now, false, b); err != nil {
		t.Fatal(err)
	}
	return b.Produced()
}

// TestMemoryPerEntity holds the documented figures: go test -v -run TestMemoryPer ./workers/correlate
func TestMemoryPerEntity(t *testing.T) {
	const n = 20_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := newStage(t, realtimeOnly)
	for i := range n { // each in a pod, a workload and a service of its own
		e := on(time.Duration(i)*time.Millisecond, "k8s.pod.restarted", fmt.Sprintf("checkout-%05d-6d4cf56db6-x2x9q", i), func(e *eventv1.Event) {
			e.Body = "container app was restarted after it ended with exit code 1"
		})
		if err := s.Process(t.Context(), batch(t, e)); err != nil {
			t.Fatal(err)
		}
	}
	per := float64(heap()-before) / n
	entities := float64(s.realtime.memory.entities.Len()) / n
	runtime.KeepAlive(s)
	if per > 2300 || entities != 3 {
		t.Errorf("an event takes %.0f bytes in %g entities, documented are 2.2 KB in 3", per, entities)
	}
	t.Logf("%.0f bytes per event that is remembered under %g keys", per, entities)
}

func TestIncidentTakesNoMoreThanItsLimit(t *testing.T) {
	s := newStage(t, realtimeOnly)
	for i := range maxIncidentEvents + 10 {
		process(t, s, on(time.Duration(i)*time.Millisecond, "k8s.pod.crash_loop_back_off", podA))
	}
	inc, _ := s.realtime.open.Get("w/shop/pay")
	if inc.find().count > maxIncidentEvents || len(inc.find().events) > 2*maxEvidence {
		t.Errorf("incident holds %d events, %d as evidence", inc.count, len(inc.events))
	}
}

func TestWindows(t *testing.T) {
	window := config.Correlate{Window: &config.CorrelateWindow{
		Size: config.Duration(5 * time.Second), Lateness: config.Duration(2 * time.Second), MinEvents: 2, MaxEvents: 4,
	}}
	at := func(ms int, pod string) *eventv1.Event {
		return on(time.Duration(ms)*time.Millisecond, "k8s.pod.restarted", pod)
	}
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		want   []string
	}{
		"one workload, two windows": {
			[]*eventv1.Event{at(0, podA), at(4999, podB), at(5000, podA), at(5001, podA)},
			[]string{"2 notable events of deployment shop/pay", "2 notable events of deployment shop/pay"},
		},
		"two workloads": {
			[]*eventv1.Event{at(0, podA), at(1, cart), at(2, cart), at(3, podB)},
			[]string{"2 notable events of deployment shop/cart", "2 notable events of deployment shop/pay"},
		},
		"too few":                  {[]*eventv1.Event{at(0, podA), at(9000, podA)}, nil},
		"late within the lateness": {[]*eventv1.Event{at(0, podA), at(6000, cart), at(1, podA)}, []string{"2 notable events of deployment shop/pay"}},
		"late beyond the lateness": {[]*eventv1.Event{at(0, podA), at(9000, cart), at(1, podA)}, nil},
		"full windows close early": {[]*eventv1.Event{at(0, podA), at(1, podA), at(2, podA), at(3, podA), at(4, podA), at(5, podA)}, []string{"4 notable events of deployment shop/pay", "2 notable events of deployment shop/pay"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, g := range process(t, newStage(t, window), tc.events...).groups {
				body, _, _ := strings.Cut(g.GetBody(), " within")
				got = append(got, body)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// windowsOf runs messages of partitions, some seconds after the start each, through windows of 4 partitions.
func windowsOf(t *testing.T, messages ...partMessage) (m *made, late int64) {
	t.Helper()
	s, m := newStageWith(t, 4, config.Correlate{Window: &config.CorrelateWindow{MinEvents: 2}}), &made{}
	second := 0
	for _, in := range messages {
		for ; second < in.stored; second++ {
			for _, p := range flush(t, s, start.Add(time.Duration(second)*time.Second)) {
				m.groups = append(m.groups, p.Event)
			}
		}
		b := batch(t, in.events...)
		b.Now, b.Partition = start.Add(time.Duration(in.stored)*time.Second), in.partition
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		m.collect(b)
		late += b.Late()
	}
	return m, late
}

type partMessage struct {
	stored, partition int
	events            []*eventv1.Event
}

// TestWindowsWaitForTheSlowestPartition: a workload's events are in several partitions, whose backlog is read one after another.
func TestWindowsWaitForTheSlowestPartition(t *testing.T) {
	const old = -time.Hour
	crash := func(after time.Duration, pod string) *eventv1.Event { return on(old+after, "k8s.pod.restarted", pod) }
	var backlog []partMessage
	for p, pod := range []string{podA, podB} {
		backlog = append(backlog, partMessage{0, p, []*eventv1.Event{crash(0, pod), crash(time.Minute, pod)}})
	}
	m, late := windowsOf(t, append(backlog, partMessage{stored: 30})...)
	var got []string
	for _, g := range m.groups {
		got = append(got, g.GetBody())
	}
	want := "2 notable events of deployment shop/pay within 5s, mostly container-restart"
	if diff := cmp.Diff([]string{want, want}, got); diff != "" || late != 0 {
		t.Errorf("%d late, groups (-want +got):\n%s", late, diff)
	}
}

// TestIdlePartitionsLeaveTheWatermark: windows close by the partitions that send, soon.
func TestIdlePartitionsLeaveTheWatermark(t *testing.T) {
	var messages []partMessage
	for i := range 40 {
		after := time.Duration(i) * time.Second
		messages = append(messages, partMessage{i, 1, []*eventv1.Event{on(after, "k8s.pod.restarted", podA)}})
	}
	m, late := windowsOf(t, messages...)
	if len(m.groups) != 6 || late != 0 { // those of the last 10 seconds are open
		t.Errorf("%d groups, want 6; %d late", len(m.groups), late)
	}
}

// TestSourceWhoseClockIsBehind: its events are in windows of their own time, however far behind, and hold up those of
// others for a bounded time.
func TestSourceWhoseClockIsBehind(t *testing.T) {
	for name, behind := range map[string]time.Duration{"by 20 seconds": 20 * time.Second, "by half an hour": 30 * time.Minute, "by a day": 24 * time.Hour} {
		for where, partition := range map[string]int{"same partition": 1, "another partition": 2} {
			t.Run(name+", "+where, func(t *testing.T) {
				slow := func(e *eventv1.Event) { e.Source = "/slow" }
				var messages []partMessage
				for i := range 100 {
					after := time.Duration(i) * time.Second
					messages = append(messages,
						partMessage{i, partition, []*eventv1.Event{on(after-behind, "k8s.pod.restarted", cart, slow)}},
						partMessage{i, 1, []*eventv1.Event{on(after, "k8s.pod.restarted", podA)}})
				}
				messages = append(messages, partMessage{stored: 130})
				m, late := windowsOf(t, messages...)
				events := map[string]int{}
				for _, g := range m.groups {
					events[g.GetEntity().GetName()] += len(g.GetCorrelation().GetLinks())
				}
				if late != 0 || events["pay"] != 100 || events["cart"] != 100 {
					t.Errorf("%d late, events in groups: %v; want 100 of each", late, events)
				}
			})
		}
	}
}

// TestIdleWindowCloses: no later event comes, the clock closes the window.
func TestIdleWindowCloses(t *testing.T) {
	s := newStage(t, config.Correlate{Window: &config.CorrelateWindow{MinEvents: 1, MaxEvents: 10}})
	if err := s.Process(t.Context(), batch(t, on(0, "k8s.pod.restarted", podA))); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{time.Second, 0}, {11 * time.Second, 1}, {12 * time.Second, 0}} {
		b := &stage.Batch{}
		b.Reset(1)
		if err := s.Flush(t.Context(), start.Add(tc.after), false, b); err != nil {
			t.Fatal(err)
		}
		if n := len(b.Produced()); n != tc.want {
			t.Errorf("after %s: %d groups, want %d", tc.after, n, tc.want)
		}
	}
}

func TestBadEvents(t *testing.T) {
	process(t, newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}}),
		&eventv1.Event{}, &eventv1.Event{SeverityNumber: 24}, &eventv1.Event{Type: "k8s.pod.oom_killed", TimeUnixNano: 1 << 62},
		&eventv1.Event{Type: "k8s.pod.crash_loop_back_off", Entity: &eventv1.EntityRef{Kind: "Pod", Name: strings.Repeat("-", 1<<16)}},
		on(0, "k8s.pod.oom_killed", "", func(e *eventv1.Event) { e.Body = strings.Repeat("é", 1<<16) }))
}

func TestConfigRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		config config.Correlate
		want   string
	}{
		"nothing": {config.Correlate{}, "correlate: none of realtime, window, runs and patterns is set"},
		"bounds":  {config.Correlate{Window: &config.CorrelateWindow{MinEvents: 5, MaxEvents: 4}}, "correlate.window.minEvents: is 5, more than maxEvents (4)"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := settingsOf(&tc.config); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestWorkloadFromAPodName(t *testing.T) {
	for pod, want := range map[string]string{
		podA: "Deployment pay", "db-0": "Pod db-0", "job-x2x9q": "Pod job-x2x9q", "plain": "Pod plain", "a-b": "Pod a-b",
		"pay-6d4cf56db6-aeiou": "Pod pay-6d4cf56db6-aeiou", "purge-29455876-zx4k2": "Job purge-29455876", "purge-29456030-zx4k2": "Job purge-29456030",
	} {
		got, guessed := ofPodName(&eventv1.EntityRef{Kind: "Pod", Name: pod})
		if name := got.GetKind() + " " + got.GetName(); name != want || guessed != (got.GetKind() != "Pod") {
			t.Errorf("the workload of %s is %s (guessed: %v), want %s", pod, name, guessed, want)
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	for name, severity := range map[string]int32{"not notable": 9, "one in a hundred notable": 0} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}})
			var events []*eventv1.Event
			for i := range 500 {
				e := on(time.Duration(i)*time.Millisecond, "app.log", fmt.Sprint("p", i), func(e *eventv1.Event) { e.SeverityNumber = 9 })
				if severity == 0 && i%100 == 0 {
					e.SeverityNumber = 17
				}
				events = append(events, e)
			}
			in := batch(b, events...)
			b.ReportAllocs()
			for b.Loop() {
				in.Reset(1)
				if err := s.Process(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
		})
	}
}

// TestSignals holds what signalOf and memory count on.
func TestSignals(t *testing.T) {
	if !slices.IsSorted(signalNames[:]) {
		t.Errorf("the signals are not in the order of their names: %v", signalNames)
	}
	for eventType := range signalByType {
		if !strings.HasPrefix(eventType, "k8s.") {
			t.Errorf("%s does not begin with k8s., so signalOf does not look for it", eventType)
		}
	}
}
