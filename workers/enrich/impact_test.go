package enrich

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/event"
)

func TestScore(t *testing.T) {
	pod := func(share float64, criticality string) *Facts {
		return &Facts{Radius: Radius{Pods: 1, Share: share}, Criticality: criticality}
	}
	for name, tc := range map[string]struct {
		facts    *Facts
		severity int32
		score    float64
		level    string
	}{
		"information has none":       {pod(1, "critical"), 9, 0, "low"},
		"no severity has none":       {pod(1, "critical"), 0, 0, "low"},
		"one of ten, warning":        {pod(0.1, ""), 13, 0.096, "low"},
		"the only pod, error":        {pod(1, ""), 17, 0.42, "medium"},
		"the only one of a critical": {pod(1, "critical"), 17, 0.525, "high"},
		"the same, fatal":            {pod(1, "critical"), 21, 0.75, "critical"},
		"low criticality":            {pod(1, "low"), 17, 0.378, "medium"},
		"a large node":               {&Facts{Radius: Radius{Pods: 64, Share: 0.5}}, 17, 0.455, "medium"},
		"more than a large node":     {&Facts{Radius: Radius{Pods: 6400, Share: 1}, Criticality: "critical"}, 24, 1, "critical"},
	} {
		t.Run(name, func(t *testing.T) {
			got := impactOf(tc.facts, bandOf(tc.severity))
			if got.Score != tc.score || got.Criticality != tc.level {
				t.Errorf("got %v %s, want %v %s", got.Score, got.Criticality, tc.score, tc.level)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	web := event.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "web"}
	pod := event.EntityRef{Kind: "Pod", Namespace: "shop", Name: "web-1"}
	for name, tc := range map[string]struct {
		facts *Facts
		want  []string
	}{
		"one of many":  {&Facts{Entity: pod, Pod: &PodFacts{}, Radius: Radius{Pods: 1, Share: 0.25, ShareOf: web, SharePods: 4}}, []string{"1 of 4 pods of Deployment shop/web"}},
		"the only one": {&Facts{Entity: pod, Pod: &PodFacts{}, Radius: Radius{Pods: 1, Share: 1, ShareOf: web, SharePods: 1}}, []string{"the only pod of Deployment shop/web"}},
		"alone":        {&Facts{Entity: pod, Pod: &PodFacts{}, Radius: Radius{Pods: 1, Share: 1, ShareOf: pod, SharePods: 1}}, []string{"pod shop/web-1 stands alone: no workload replaces it"}},
		"a workload":   {&Facts{Entity: web, Radius: Radius{Pods: 4, Share: 1, ShareOf: web, SharePods: 4}}, []string{"all 4 pods of Deployment shop/web"}},
		"a node": {
			&Facts{Entity: event.EntityRef{Kind: "Node", Name: "n1"}, Radius: Radius{Pods: 30, Share: 0.5, ShareOf: web, SharePods: 4}},
			[]string{"30 pods run on node n1, among them 2 of 4 of Deployment shop/web"},
		},
		"an empty node": {&Facts{Entity: event.EntityRef{Kind: "Node", Name: "n1"}}, []string{"0 pods run on node n1"}},
		"with a service": {
			&Facts{Entity: web, Radius: Radius{Pods: 4, Share: 1, ShareOf: web, SharePods: 4}, Services: []event.EntityRef{{Namespace: "shop", Name: "web"}}, Criticality: "high"},
			[]string{"all 4 pods of Deployment shop/web", "behind service shop/web", "service.criticality is high"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, reasons(tc.facts)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// Every rule has an id of its own, a known category, and can be reached by its own words.
func TestBuiltinTable(t *testing.T) {
	ids := map[string]bool{}
	known := map[string]bool{}
	for _, c := range categories() {
		known[c] = true
	}
	for _, r := range builtinRules() {
		key := r.id + "/" + r.contains
		if ids[key] {
			t.Errorf("rule %s is there twice", key)
		}
		ids[key] = true
		if !known[r.category] || r.class == "" {
			t.Errorf("rule %s: class %q, category %q", r.id, r.class, r.category)
		}
	}
}
