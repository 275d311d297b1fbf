package rig_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/config/connect"
)

// as is the source of the rig's pipeline for a role of people.
func as(t *testing.T, r *rig.Rig, role string) *view.Plans {
	t.Helper()
	s := view.NewPlans(view.Server{URL: r.URL(), Material: connect.Material{User: role, Password: rigtest.Password(role)}}, r.Plan())
	t.Cleanup(s.Close)
	return s
}

// TestPeople: on a server that gives each user the printed rights alone, a viewer can look at everything that workers have made and change nothing, and an
// editor can replay and purge dead letters besides.
func TestPeople(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r := restricted(ctx, t)
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, r, 0, 100)
	for i := range 3 {
		if _, err := r.JetStream().Publish(ctx, "events.raw.rig", fmt.Appendf(nil, "no event %d {", i)); err != nil {
			t.Fatal(err)
		}
		if err := r.WaitDrained(ctx); err != nil { // each is a step of its own
			t.Fatal(err)
		}
	}
	wantLooks(ctx, t, r)
	wantEdits(ctx, t, r)
	rigtest.CheckRights(t, r.Server())

	for name, c := range map[string]struct {
		role, publish, subscribe string
		allowed                  bool
	}{
		"a viewer reads a stream":           {role: plan.RoleViewer, publish: "$JS.API.DIRECT.GET.VALIDATED_EVENTS", allowed: true},
		"a viewer looks whether it answers": {role: plan.RoleViewer, publish: "$JS.API.INFO", allowed: true},
		"a viewer looks what there is":      {role: plan.RoleViewer, publish: "$JS.API.STREAM.LIST", allowed: true},
		"a viewer publishes an event":       {role: plan.RoleViewer, publish: "events.raw.x"},
		"a viewer publishes between stages": {role: plan.RoleViewer, publish: "events.validated.0"},
		"a viewer removes a dead letter":    {role: plan.RoleViewer, publish: "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS"},
		"a viewer marks a dead letter":      {role: plan.RoleViewer, publish: "$KV.default_observability_events._replay.job.x"},
		"a viewer takes a lease":            {role: plan.RoleViewer, publish: "$KV.default_observability_events.validate"},
		"a viewer makes a consumer":         {role: plan.RoleViewer, publish: "$JS.API.CONSUMER.CREATE.RAW_EVENTS.mine"},
		"a viewer pulls for a stage":        {role: plan.RoleViewer, publish: "$JS.API.CONSUMER.MSG.NEXT.RAW_EVENTS.default-observability-validate"},
		"a viewer purges a stream":          {role: plan.RoleViewer, publish: "$JS.API.STREAM.PURGE.RAW_EVENTS"},
		"a viewer listens to events":        {role: plan.RoleViewer, subscribe: "events.>"},
		"an editor publishes an event":      {role: plan.RoleEditor, publish: "events.raw.x", allowed: true},
		"an editor publishes as a stage":    {role: plan.RoleEditor, publish: "events.validated.0"},
		"an editor removes other messages":  {role: plan.RoleEditor, publish: "$JS.API.STREAM.MSG.DELETE.RAW_EVENTS"},
		"an editor takes a lease":           {role: plan.RoleEditor, publish: "$KV.default_observability_events.validate"},
		"an editor deletes a stream":        {role: plan.RoleEditor, publish: "$JS.API.STREAM.DELETE.DEAD_LETTERS"},
	} {
		t.Run(name, func(t *testing.T) {
			if denied := deniedTo(t, r, c.role, c.publish, c.subscribe); denied == c.allowed {
				t.Errorf("denied: %t, want %t", denied, !c.allowed)
			}
		})
	}
}

// wantLooks asks every question as a viewer.
func wantLooks(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	source := view.NewRecorded(view.Server{URL: r.URL(), Material: connect.Material{User: plan.RoleViewer, Password: rigtest.Password(plan.RoleViewer)}})
	defer source.Close()
	v, err := view.New(source, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	of := view.Name{Namespace: "default", Name: "observability"}
	if all, err := v.Pipelines(ctx); err != nil || len(all) != 1 || all[0].Name != of {
		t.Errorf("pipelines: %+v, %v", all, err)
	}
	since := time.Now().Add(-time.Hour)
	for _, o := range []view.TapOptions{{}, {Stage: "validate"}, {Stage: "enrich"}, {Stage: "validate", Port: "dead-letter"}} {
		n := 0
		o.Since = since
		if err := v.Tap(ctx, of, o, func(*view.Stored) error { n++; return nil }); err != nil || n == 0 {
			t.Errorf("tap %s/%s: %d events, %v", o.Stage, o.Port, n, err)
		}
	}
	trace, err := v.Trace(ctx, of, view.TraceOptions{ID: "7"})
	if err != nil || len(trace.Steps) < 5 {
		t.Errorf("trace: %+v, %v", trace, err)
	}
	if _, err := v.Incidents(ctx, of, view.IncidentOptions{}); err != nil {
		t.Errorf("incidents: %v", err)
	}
	page, err := v.DeadLetters(ctx, of, view.LetterOptions{})
	if err != nil || len(page.Letters) != 3 {
		t.Fatalf("dead letters: %+v, %v", page, err)
	}
	letter, err := v.DeadLetter(ctx, of, page.Letters[0].Sequence)
	if err != nil || !strings.HasPrefix(string(letter.Body), "no event") {
		t.Errorf("dead letter: %+v, %v", letter, err)
	}
}

// wantEdits replays and purges as an editor.
func wantEdits(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	of := view.Name{Namespace: "default", Name: "observability"}
	e, err := deadletter.New(as(t, r, plan.RoleEditor), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	job, err := e.Start(ctx, of, deadletter.ReplayOptions{})
	if err == nil {
		job, err = e.Run(ctx, of, job.ID, nil)
	}
	if err != nil || job.Published != 3 {
		t.Fatalf("replay: %+v, %v", job, err)
	}
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	if purged, err := e.Purge(ctx, of, deadletter.PurgeOptions{Replayed: true}); err != nil || purged.Removed != 3 {
		t.Errorf("purge: %+v, %v", purged, err)
	}
	if jobs, err := e.Jobs(ctx, of); err != nil || len(jobs) != 1 || jobs[0].State != deadletter.StateDone {
		t.Errorf("jobs: %+v, %v", jobs, err)
	}
}
