package view

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/view"
)

// decisions are what stages did, as STAGE DECISION PORT.
func decisions(trace *view.Trace) (all []string) {
	for _, s := range trace.Steps {
		all = append(all, strings.TrimSpace(strings.Join([]string{s.Stage, s.Decision, s.Port}, " ")))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestTrace(t *testing.T) {
	p := start(t)
	var batch []string
	for i := range 500 {
		batch = append(batch, order(fmt.Sprint("o", i), "order.placed"))
	}
	p.publish(t, "["+strings.Join(batch, ",")+"]")
	p.publish(t, order("refused", "order.refused"), order("noise", "debug"), order("twice", "order.placed"), order("twice", "order.placed"))
	if err := p.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	whole := []string{
		"alert filtered", "both emitted out", "check emitted out", "clean emitted out", "found emitted out", "ingress stored", "left emitted out", "right emitted out", "tag emitted out",
	}
	for id, want := range map[string][]string{
		"o0":      whole,
		"o499":    whole,
		"refused": {"check dead-lettered dead-letter", "ingress stored"},
		"noise":   {"check emitted out", "clean filtered", "ingress stored"},
		"twice":   append([]string{"check deduplicated"}, whole...),
	} {
		t.Run(id, func(t *testing.T) {
			trace, err := p.view.Trace(t.Context(), shop, view.TraceOptions{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Sorted(slices.Values(want))
			if diff := cmp.Diff(want, decisions(trace)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, s := range trace.Steps {
				switch {
				case s.Decision == view.DecisionEmitted && s.At != nil && s.Port == "out" && !strings.Contains(string(s.Event), id):
					t.Errorf("stage %s emitted %s", s.Stage, s.Event)
				case s.Stage == "clean" && s.Decision == view.DecisionEmitted && string(s.Added["data.attributes.team"]) != `"shop"`:
					t.Errorf("clean added %s", s.Added)
				case s.Decision == view.DecisionDead && !strings.Contains(s.Why, "no orders"):
					t.Errorf("dead, because %s", s.Why)
				}
			}
		})
	}
	if _, err := p.view.Trace(t.Context(), shop, view.TraceOptions{ID: "nobody"}); !errors.Is(err, view.ErrNotFound) {
		t.Errorf("got %v, want %v", err, view.ErrNotFound)
	}
}
