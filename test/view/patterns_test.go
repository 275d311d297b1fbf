package view

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/view"
)

// TestPatterns: what a stage has learnt is read from what it has stored; what holds no more is not listed.
func TestPatterns(t *testing.T) {
	plans, err := manifest.Plans(t.Context(), strings.NewReader(""), []string{"../../config/samples/patterns.yaml"}, "")
	if err != nil {
		t.Fatal(err)
	}
	p := startPlan(t, plans[0])
	name := view.Name{Namespace: "default", Name: "learning"}
	n := 0
	happens := func(kind string, wait time.Duration) {
		n++
		p.publish(t, fmt.Sprintf(`{"id":"e%d","source":"kubelet","type":%q,"time":%q,"severitytext":"WARN","entity":{"kind":"Pod","namespace":"shop","name":"cart-0"}}`,
			n, kind, p.Now().UTC().Format(time.RFC3339Nano)))
		if err := p.Advance(t.Context(), wait); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := p.view.Patterns(t.Context(), name); err != nil || len(all) != 0 {
		t.Errorf("before anything was learnt: %+v, %v", all, err)
	}
	for range 12 {
		happens("k8s.a", 30*time.Second)
		happens("k8s.b", 20*time.Minute)
	}
	all, err := p.view.Patterns(t.Context(), name)
	if err != nil || len(all) != 1 {
		t.Fatalf("got %+v, %v, want one pattern", all, err)
	}
	x := all[0]
	if x.Stage != "correlate" || x.Relation != "pod" || strings.Join(x.First, ",") != "Pod k8s.a" || x.Then != "Pod k8s.b" || x.Usually < 30 || x.Usually > 60 ||
		x.Followed < 9 || x.Followed != x.Begun || x.Confidence != 1 || x.Low < 0.3 || x.Evidence < 4 || x.Since.IsZero() || len(x.Examples) == 0 ||
		!strings.Contains(x.Examples[0], "e") || x.ID == "" {
		t.Errorf("got %+v", x)
	}
	for range 40 { // what followed does not any more
		happens("k8s.a", 20*time.Minute)
	}
	if all, err := p.view.Patterns(t.Context(), name); err != nil || len(all) != 0 {
		t.Errorf("what holds no more is listed: %+v, %v", all, err)
	}
}
