package view_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/view"
)

// edges are the edges of a graph as people write them.
func edges(g *view.Graph) []string {
	var all []string
	for _, e := range g.Edges {
		s := strings.TrimSuffix(e.From+"/"+e.Port, "/")
		if e.To != "" {
			s += " > " + e.To
		}
		if e.Stream == "" {
			s += " in memory"
		}
		if e.Partitions > 0 {
			s += fmt.Sprintf(" x%d", e.Partitions)
		}
		all = append(all, s)
	}
	return all
}

func TestGraph(t *testing.T) {
	for sample, want := range map[string][]string{
		"minimal": {"ingress > check", "check/out x8", "check/dead-letter"},
		"chained": {
			"ingress > validate", "validate/out > enrich in memory", "validate/dead-letter",
			"enrich/out > correlate in memory", "enrich/out > analyze in memory", "enrich/dead-letter",
			"correlate/out x8", "correlate/insights", "correlate/dead-letter", "analyze/out x8", "analyze/insights", "analyze/dead-letter",
		},
		"join": {
			"ingress > validate", "validate/out > enrich x8", "validate/out > correlate x8", "validate/dead-letter",
			"enrich/out > together x8", "enrich/dead-letter", "correlate/out > together x8", "correlate/insights", "correlate/dead-letter",
			"together/out x8", "together/dead-letter",
		},
	} {
		g := view.GraphOf(view.LayoutOf(planOf(t, sample)))
		if diff := cmp.Diff(want, edges(g)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sample, diff)
		}
	}
}

// TestGraphHasAllInputs: of every sample, each input of a stage is an edge, each port leads somewhere or ends, and the revision is its own.
func TestGraphHasAllInputs(t *testing.T) {
	revisions := map[string]string{}
	for _, sample := range samples(t) {
		p := planOf(t, sample)
		g := view.GraphOf(view.LayoutOf(p))
		if other, ok := revisions[g.Revision]; ok || view.GraphOf(view.LayoutOf(p)).Revision != g.Revision {
			t.Errorf("%s and %s have revision %s", sample, other, g.Revision)
		}
		revisions[g.Revision] = sample
		if len(g.Stages) != len(p.Stages) || g.Revision == "" {
			t.Errorf("%s: the graph has %d stages, the plan %d; its revision is %q", sample, len(g.Stages), len(p.Stages), g.Revision)
		}
		all := edges(g)
		for i := range p.Stages {
			s, node := &p.Stages[i], g.Stages[i]
			if node.Name != s.Name || node.Kind != string(s.Config.Kind) || node.Head != s.Head || node.Lanes != s.Lanes || node.Stateful != s.Config.Replays() {
				t.Errorf("%s: stage %+v", sample, node)
			}
			for _, in := range s.Config.Inputs {
				if !slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, in.From+" > "+s.Name) }) {
					t.Errorf("%s: %s reads %s, but the edges are %q", sample, s.Name, in.From, all)
				}
			}
			for port := range s.Config.Outputs {
				if !slices.Contains(node.Ports, port) || !slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, s.Name+"/"+port) }) {
					t.Errorf("%s: port %s/%s is missing in %v, %q", sample, s.Name, port, node.Ports, all)
				}
			}
		}
	}
}

// samples are the names of the samples that hold one pipeline.
func samples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("samples: %v, %v", files, err)
	}
	var names []string
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); name != "kustomization" {
			names = append(names, name)
		}
	}
	return names
}
