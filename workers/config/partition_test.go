package config_test

import (
	"testing"

	"millrace.dev/millrace/workers/config"
)

func TestFilter(t *testing.T) {
	for name, c := range map[string]struct {
		in    config.Input
		lanes int
		want  string
	}{
		"one lane":                       {config.Input{Subject: "ns.a.>"}, 1, "ns.a.>"},
		"one lane, several lanes before": {config.Input{Subject: "ns.a.>", Repartitioned: true}, 1, "ns.a.>"},
		"a lane":                         {config.Input{Subject: "ns.a"}, 8, "ns.a.3"},
		"a lane, several lanes before":   {config.Input{Subject: "ns.a", Repartitioned: true}, 8, "ns.a.3.>"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.in.Filter(3, c.lanes); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestStoredSubject: the worker's side of what controllers/plan tries on a server (TestServerGivesPartitions), and the way back.
func TestStoredSubject(t *testing.T) {
	_, eight := config.SubjectTransform("ev.raw", 8)
	for name, c := range map[string]struct{ destination, subject, want string }{
		"no transform":     {"", "ev.raw.a", "ev.raw.a"},
		"bare subject":     {eight, "ev.raw", "ev.raw.2.ev.raw"},
		"below":            {eight, "ev.raw.a.b", "ev.raw.3.ev.raw.a.b"},
		"looks like it":    {eight, "ev.raw.3.x", "ev.raw.3.ev.raw.3.x"},
		"somebody else's":  {"other.>", "ev.raw.a", "ev.raw.a"},
		"of no partitions": {"ev.raw.{{partition(0)}}.>", "ev.raw.a", "ev.raw.a"},
	} {
		t.Run(name, func(t *testing.T) {
			got := config.StoredSubject(c.destination, c.subject)
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for _, filter := range []string{"ev.raw", "ev.raw.>"} { // of lanes, of one lane
				in := config.Input{From: config.Ingress, Subject: filter, Repartitioned: c.destination != ""}
				if back := in.Published(got); back != c.subject {
					t.Errorf("published on %q, want %q", back, c.subject)
				}
			}
		})
	}
	t.Run("what a stage has stored", func(t *testing.T) {
		in := config.Input{From: "a/out", Subject: "ev.a", Repartitioned: true}
		if got := in.Published("ev.a.3.1"); got != "ev.a.3.1" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("stored before there was a transform", func(t *testing.T) {
		in := config.Input{From: config.Ingress, Subject: "ev.raw.>", Repartitioned: true}
		if got := in.Published("ev.raw.a"); got != "ev.raw.a" {
			t.Errorf("got %q", got)
		}
	})
}
