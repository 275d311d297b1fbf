package enrich_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func all() *config.Enrich {
	return &config.Enrich{
		Kubernetes: &config.EnrichKubernetes{}, Semantic: &config.EnrichSemantic{},
		Trace: &config.EnrichTrace{}, Impact: &config.EnrichImpact{},
	}
}

// started is a running stage with a clock that the test moves.
type started struct {
	stage.Stage
	now     time.Time
	log     bytes.Buffer
	metrics *prometheus.Registry
}

func start(t testing.TB, c *config.Enrich, open enrich.Open) *started {
	t.Helper()
	s := &started{now: noon, metrics: prometheus.NewRegistry()}
	var err error
	s.Stage, err = enrich.NewFactory(open).New(stage.Settings{
		Config: &config.StageConfig{Stage: "enrich", Kind: config.KindEnrich, Enrich: c},
		Log:    slog.New(slog.NewTextHandler(&s.log, nil)), Now: func() time.Time { return s.now }, Metrics: s.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func snapshot() enrich.Open { return kubernetes.Choice{Snapshot: "testdata/cluster.yaml"}.Open }

// process runs events through the stage and returns what they have become.
func (s *started) process(t testing.TB, messages ...*eventv1.Event) []*eventv1.Event {
	t.Helper()
	var b stage.Batch
	for i, m := range messages {
		e, err := event.FromProto(m, event.Origin{Index: i})
		if err != nil {
			t.Fatal(err)
		}
		b.Events = append(b.Events, e)
	}
	b.Reset(1)
	if err := s.Process(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	out := make([]*eventv1.Event, len(b.Events))
	for i := range b.Events {
		if v := b.Decision(i).Verdict; v != stage.Emit {
			t.Errorf("event %d: verdict is %v, want emit", i, v)
		}
		m, err := b.Events[i].ToProto()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = m
	}
	return out
}

// events of the goldens, by name of the file.
func goldenEvents() map[string]*eventv1.Event {
	at := uint64(noon.UnixNano())
	return map[string]*eventv1.Event{
		"oom-killed": {
			Id: "1", Source: "/clusters/test/pods", Type: "k8s.pod.oom_killed", TimeUnixNano: at, SeverityNumber: 17,
			Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "checkout-6d5f-aaaaa", Uid: "pod-a-uid", Cluster: "test"},
		},
		"back-off": {
			Id: "2", Source: "/clusters/test/kubelet", Type: "k8s.event", TimeUnixNano: at, SeverityNumber: 13,
			Body:   "Back-off restarting failed container app in pod db-0_shop(pod-db-uid)",
			Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "db-0", Uid: "pod-db-uid"},
			Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: "BackOff", Type: "Warning"}},
		},
		"request-by-name": {
			Id: "3", Source: "checkout", Type: "app.request", TimeUnixNano: at, SeverityNumber: 17,
			Resource: []*eventv1.KeyValue{
				text("k8s.namespace.name", "shop"), text("k8s.pod.name", "checkout-6d5f-bbbbb"), text("service.name", "checkout-api"),
			},
			Extensions: []*eventv1.KeyValue{text("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
		},
		"flow-by-ip": {
			Id: "4", Source: "ebpf", Type: "network.flow", TimeUnixNano: at, SeverityNumber: 9,
			Signal: &eventv1.Event_Network{Network: &eventv1.Network{SourceIp: "10.0.0.2", DestinationIp: "10.0.0.3"}},
		},
		"node-not-ready": {
			Id: "5", Source: "/clusters/test/nodes", Type: "k8s.node.not_ready", TimeUnixNano: at,
			Entity: &eventv1.EntityRef{Kind: "Node", Name: "n1", Uid: "node-1-uid"},
		},
		"scaling": {
			Id: "6", Source: "/clusters/test/deployment-controller", Type: "k8s.event", TimeUnixNano: at, SeverityNumber: 9,
			Body:   "Scaled up replica set checkout-6d5f from 1 to 2",
			Entity: &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "checkout", Uid: "deployment-checkout-uid"},
			Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: "ScalingReplicaSet", Type: "Normal"}},
		},
		"unknown-pod": {
			Id: "7", Source: "somewhere", Type: "custom.thing", TimeUnixNano: at,
			Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "gone"},
		},
		"no-entity": {Id: "8", Source: "cron", Type: "app.log", TimeUnixNano: at, SeverityNumber: 17, Body: "dial tcp: connection refused"},
	}
}

func text(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func TestGolden(t *testing.T) {
	s := start(t, all(), snapshot())
	for name, in := range goldenEvents() {
		t.Run(name, func(t *testing.T) {
			first := asJSON(t, s.process(t, in)[0])
			cached := asJSON(t, s.process(t, in)[0])
			if diff := cmp.Diff(first, cached); diff != "" {
				t.Errorf("from the cache: -first +cached\n%s", diff)
			}
			golden.Check(t, filepath.Join("testdata", name+".json"), first)
		})
	}
}

// TestKeyStays: an event whose entity is completed has the key that it was partitioned by, also when it shares its lead with others.
func TestKeyStays(t *testing.T) {
	s := start(t, all(), snapshot())
	key := func(m *eventv1.Event) string {
		v, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		return v.Key()
	}
	for name, in := range goldenEvents() {
		for _, copies := range [][]*eventv1.Event{{in}, {in, in, in}} {
			for i, out := range s.process(t, copies...) {
				if got, want := key(out), key(in); got != want {
					t.Errorf("%s: the key of event %d of %d is %q, and was %q", name, i, len(copies), got, want)
				}
			}
		}
	}
}

// asJSON is proto JSON with stable white space.
func asJSON(t testing.TB, m *eventv1.Event) string {
	t.Helper()
	raw, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// statuses are the statuses by enricher.
func statuses(e *eventv1.Event) map[string]string {
	all := map[string]string{}
	for _, r := range e.Enrichment {
		all[r.By] += r.Status
	}
	return all
}

func TestNoCluster(t *testing.T) {
	s := start(t, all(), kubernetes.Choice{}.Open)
	got := s.process(t, goldenEvents()["oom-killed"], goldenEvents()["oom-killed"])
	want := map[string]string{"kubernetes": "miss", "semantic": "ok", "trace": "miss", "impact": "miss"}
	if diff := cmp.Diff(want, statuses(got[1])); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if n := strings.Count(s.log.String(), "no cluster and no snapshot"); n != 1 {
		t.Errorf("the log says %d times that there is no cluster, want once:\n%s", n, s.log.String())
	}
}

// Only what is configured runs and leaves an entry.
func TestEnrichersAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		config config.Enrich
		want   map[string]string
	}{
		"kubernetes": {config.Enrich{Kubernetes: &config.EnrichKubernetes{}}, map[string]string{"kubernetes": "ok"}},
		"semantic":   {config.Enrich{Semantic: &config.EnrichSemantic{}}, map[string]string{"semantic": "ok"}},
		"trace":      {config.Enrich{Trace: &config.EnrichTrace{}}, map[string]string{"trace": "miss"}},
		"impact":     {config.Enrich{Impact: &config.EnrichImpact{}}, map[string]string{"impact": "ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t, &tc.config, snapshot()).process(t, goldenEvents()["oom-killed"])[0]
			if diff := cmp.Diff(tc.want, statuses(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if name != "impact" && got.Impact != nil || name != "kubernetes" && len(got.Resource) > 0 {
				t.Errorf("more was added: %v", got)
			}
		})
	}
}

func TestOpenFails(t *testing.T) {
	boom := errors.New("boom")
	s, err := enrich.NewFactory(func(context.Context) (enrich.Source, error) { return nil, boom }).New(stage.Settings{
		Config: &config.StageConfig{Stage: "enrich", Enrich: all()}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); !errors.Is(err, boom) {
		t.Errorf("start: got %v, want %v", err, boom)
	}
}

func TestConfigErrors(t *testing.T) {
	rule := func(change func(*config.SemanticRule)) *config.Enrich {
		r := config.SemanticRule{ID: "a", Class: "c", Category: "change"}
		change(&r)
		return &config.Enrich{Semantic: &config.EnrichSemantic{Rules: []config.SemanticRule{r}}}
	}
	for name, tc := range map[string]struct {
		config *config.Enrich
		want   string
	}{
		"nothing":            {&config.Enrich{}, "set at least one of kubernetes, semantic, trace, impact"},
		"missing":            {nil, "enrich is missing"},
		"negative entries":   {&config.Enrich{Trace: &config.EnrichTrace{}, Cache: config.EnrichCache{MaxEntries: -1}}, "enrich.cache.maxEntries is -1"},
		"negative ttl":       {&config.Enrich{Trace: &config.EnrichTrace{}, Cache: config.EnrichCache{TTL: -1}}, "enrich.cache.ttl is -1ns"},
		"negative keep":      {&config.Enrich{Kubernetes: &config.EnrichKubernetes{KeepDeleted: -1}}, "enrich.kubernetes.keepDeleted"},
		"rule without id":    {rule(func(r *config.SemanticRule) { r.ID = "" }), "enrich.semantic.rules[0].id is missing"},
		"without class":      {rule(func(r *config.SemanticRule) { r.Class = "" }), "enrich.semantic.rules[0].class is missing"},
		"unknown category":   {rule(func(r *config.SemanticRule) { r.Category = "weather" }), `rules[0].category is "weather": want one of availability`},
		"unknown severity":   {rule(func(r *config.SemanticRule) { r.Severity = 25 }), "rules[0].severity is 25"},
		"star in the middle": {rule(func(r *config.SemanticRule) { r.Type = "k8s.*.oom" }), `rules[0].type is "k8s.*.oom"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := enrich.NewFactory(nil).New(stage.Settings{
				Config: &config.StageConfig{Stage: "enrich", Enrich: tc.config}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(),
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
