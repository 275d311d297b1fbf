package view

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/view"
)

// killed is a container that was killed for lack of memory.
func killed(id, pod string) string {
	return `{"id":"` + id + `","source":"kubelet","type":"k8s.pod.oom_killed","time":"` + time.Now().UTC().Format(time.RFC3339Nano) +
		`","severitytext":"ERROR","body":"killed","entity":{"kind":"Pod","namespace":"shop","name":"` + pod + `"}}`
}

func TestIncidents(t *testing.T) {
	p := start(t)
	p.publish(t, killed("k1", "cart-0"))
	if err := p.Advance(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options view.IncidentOptions
		want    int
	}{
		"all":               {view.IncidentOptions{}, 1},
		"open":              {view.IncidentOptions{Open: true}, 1},
		"its namespace":     {view.IncidentOptions{Namespace: "shop"}, 1},
		"another namespace": {view.IncidentOptions{Namespace: "pay"}, 0},
		"its entity":        {view.IncidentOptions{Entity: "cart"}, 1},
		"another entity":    {view.IncidentOptions{Entity: "front"}, 0},
		"severe":            {view.IncidentOptions{Severity: "error"}, 1},
		"more severe":       {view.IncidentOptions{Severity: "fatal"}, 0},
		"later":             {view.IncidentOptions{Since: time.Now().Add(time.Hour)}, 0},
	} {
		all, err := p.view.Incidents(t.Context(), shop, c.options)
		if err != nil || len(all) != c.want {
			t.Errorf("%s: got %d incidents, %v, want %d", name, len(all), err, c.want)
		}
	}
	all, err := p.view.Incidents(t.Context(), shop, view.IncidentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if i := all[0]; i.Stage != "alert" || i.Severity != "error" || !strings.Contains(i.Cause, "shop/cart-0") || i.Status != "open" || len(i.Evidence) != 1 || i.Evidence[0].EventID != "k1" {
		t.Errorf("got %+v", i)
	}
	trace, err := p.view.Trace(t.Context(), shop, view.TraceOptions{ID: "k1"})
	if err != nil || len(trace.Incidents) != 1 || trace.Incidents[0].ID != all[0].ID || trace.Incidents[0].Title != all[0].Title {
		t.Errorf("the trace of the evidence names %v, %v: want %s", trace, err, all[0].ID)
	}

	// Who asks the same while nothing is added shares a reading.
	again, err := p.view.Incidents(t.Context(), shop, view.IncidentOptions{})
	if err != nil || len(again) != 1 || &again[0] != &all[0] {
		t.Errorf("the second list of the same incidents was read anew: %v", err)
	}

	// It is closed when nothing more happens: one insight, of a newer revision.
	if err := p.Advance(t.Context(), 40*time.Minute); err != nil {
		t.Fatal(err)
	}
	all, err = p.view.Incidents(t.Context(), shop, view.IncidentOptions{})
	if err != nil || len(all) != 1 || all[0].Status != "closed" || all[0].Revision < 2 {
		t.Errorf("after the quiet time: %+v, %v", all, err)
	}
	if all, err = p.view.Incidents(t.Context(), shop, view.IncidentOptions{Open: true}); err != nil || len(all) != 0 {
		t.Errorf("open ones after the quiet time: %+v, %v", all, err)
	}
	if _, err = p.view.Incidents(t.Context(), shop, view.IncidentOptions{Severity: "awful"}); !errors.Is(err, view.ErrInvalid) {
		t.Errorf("got %v, want %v", err, view.ErrInvalid)
	}
}
