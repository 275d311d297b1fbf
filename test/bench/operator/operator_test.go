package main

import (
	"maps"
	"os"
	"testing"
)

func TestRequestsAreCountedByResource(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/namespaces/bench/configmaps/p000-x":                             "configmaps",
		"/api/v1/namespaces/bench":                                               "namespaces",
		"/apis/apps/v1/namespaces/bench/deployments":                             "deployments",
		"/apis/millrace.dev/v1alpha1/pipelines":                                  "pipelines",
		"/apis/millrace.dev/v1alpha1/namespaces/bench/stages/p000-enrich/status": "stages/status",
		"/apis/millrace.dev/v1alpha1/namespaces/bench/stages/p000-enrich":        "stages",
		"/apis": "discovery",
	} {
		if got := resourceOf(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func TestWritesAreNeitherReadsNorWatches(t *testing.T) {
	before := map[string]int{"GET pods": 3, "PATCH stages": 1}
	now := map[string]int{"GET pods": 4, "PATCH stages": 3, "WATCH pods": 1, "JetStream read": 9, "JetStream create": 2, "POST events": 1}
	got := since(now, before)
	want := map[string]int{"GET pods": 1, "PATCH stages": 2, "WATCH pods": 1, "JetStream read": 9, "JetStream create": 2, "POST events": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := writes(got); n != 5 {
		t.Errorf("got %d writes, want 5", n)
	}
	r := Report{RestartRequests: got}
	if r.verdict() == nil {
		t.Error("a report with writes passes")
	}
}

func TestStatOfAProcessWithAnOddName(t *testing.T) {
	name, pid, parent, cpu, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 150 25 0 0 20 0 1 0 99 0 0")
	if err != nil || name != "a) b (c" || pid != 42 || parent != 7 || cpu != 1.75 {
		t.Errorf("got %q, %d, %d, %v, %v", name, pid, parent, cpu, err)
	}
	if _, _, _, _, err := parseStat("nonsense"); err == nil {
		t.Error("nonsense was read")
	}
	if used, err := usage(); err != nil || len(used) == 0 {
		t.Errorf("got %v, %v of process %d", used, err, os.Getpid())
	}
}
