package stage

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/test/pass"
)

// goodbye is what a row of the table of deletions begins with: the stage correlate, which is being deleted since a moment, and whose
// worker has processed all that was stored.
type goodbye struct {
	leftover
	in *intake.Intake
	// failing is for how long NATS has not answered, because of err; deleting is the answer to the deletion of the consumers.
	failing       time.Duration
	err, deleting error
}

func leaving(t *testing.T) *goodbye {
	t.Helper()
	s := healthy(t, nil)
	s.Stage.DeletionTimestamp = new(metav1.NewTime(began))
	return &goodbye{leftover: leftover{stage: s.Stage, history: s.History, deployment: s.Deployment, from: []string{"enrich"}}, in: &s.Intake}
}

// lag has so many events be left, stored at some time.
func (g *goodbye) lag(n int64, at time.Time) {
	g.in.Inputs[0].Lanes[0].Lag = jetstream.Lag{Events: n, Oldest: at}
}

// overflow is lag of an input that is the overflow of the stage.
func (g *goodbye) overflow(n int64, at time.Time) {
	g.history.Newest().Inputs[0].From = "correlate/overflow"
	g.lag(n, at)
}

// TestDeletionTable says what a Stage that is being deleted tells people, and when it looks again. "on event" is that it goes.
func TestDeletionTable(t *testing.T) {
	const unreachable = "Warning NATSUnreachable"
	before, after := began.Add(-time.Minute), began.Add(time.Minute)
	draining := pass.Want{Ready: "Reconciling EventsLeft", Conditions: "InputsDrained False EventsLeft", Events: "Warning EventsLeft", Next: "after 1s"}
	gone := func(events string) pass.Want {
		return pass.Want{Conditions: "Ready absent", Events: events, Next: "on event"}
	}
	waits := func(events string) pass.Want {
		return pass.Want{Conditions: "Ready absent", Events: events, Next: "after 2s"}
	}
	for name, row := range map[string]struct {
		change func(*goodbye)
		now    time.Time
		want   pass.Want
	}{
		"all is processed":                     {func(*goodbye) {}, began, gone("")},
		"events are left":                      {func(g *goodbye) { g.lag(5, before) }, began, draining},
		"what is left came after the deletion": {func(g *goodbye) { g.lag(5, after) }, began, gone("")},
		"events wait in the overflow": { // whenever they came there
			func(g *goodbye) { g.overflow(5, after) }, began, draining,
		},
		"events wait in the overflow for too long": {
			func(g *goodbye) { g.overflow(5, after) }, began.Add(11 * time.Minute), gone("Warning EventsLeft"),
		},
		"events are left, and so they were before": {
			func(g *goodbye) {
				g.lag(5, before)
				status.Set(&g.stage.Status.Conditions, 1, began, "", "", status.False(v1alpha1.ConditionInputsDrained, v1alpha1.ReasonEventsLeft, "as before"))
			}, began, pass.Want{Ready: draining.Ready, Conditions: draining.Conditions, Next: draining.Next},
		},
		"the stage that it reads is being deleted, too": {
			func(g *goodbye) {
				enrich := child("enrich")
				enrich.DeletionTimestamp = new(metav1.NewTime(began))
				g.stages = graph.Stages{Children: []v1alpha1.Stage{*enrich}}
			}, began, draining,
		},
		"the stage that it reads is gone, and something came until then": {func(g *goodbye) { g.lag(5, after) }, began, draining},
		"no worker reads what is left": {
			func(g *goodbye) {
				g.lag(5, before)
				g.deployment = mounting(g.history[0].ConfigMap)
				g.in.Inputs[0].Durable = "other"
			}, began, gone("Warning EventsLeft"),
		},
		"the drain takes too long":             {func(g *goodbye) { g.lag(5, before) }, began.Add(11 * time.Minute), gone("Warning EventsLeft")},
		"NATS does not answer":                 {func(g *goodbye) { g.err = silent }, began, waits(unreachable)},
		"NATS has not answered for a while":    {func(g *goodbye) { g.err, g.failing = silent, 59*time.Second }, began, waits(unreachable)},
		"NATS has not answered for too long":   {func(g *goodbye) { g.err, g.failing = silent, time.Minute }, began, gone("Warning EventsLeft")},
		"the credentials are missing":          {func(g *goodbye) { g.err = missing }, began, waits("Warning CredentialsNotFound")},
		"the API server does not answer":       {func(g *goodbye) { g.err = errors.New("no") }, began, pass.Want{Conditions: "Ready absent", Next: "rate limited"}},
		"somebody wrote the stage meanwhile":   {func(g *goodbye) { g.err = apierrors.NewConflict(deployments, "x", nil) }, began, pass.Want{Conditions: "Ready absent", Next: "after 50ms"}},
		"the consumers cannot be deleted":      {func(g *goodbye) { g.deleting = silent }, began, waits(unreachable)},
		"the consumers could never be deleted": {func(g *goodbye) { g.deleting, g.failing = silent, time.Minute }, began, gone("Warning Retained")},
	} {
		t.Run(name, func(t *testing.T) {
			g := leaving(t)
			if name != "the stage that it reads is gone, and something came until then" {
				g.stages.Children = []v1alpha1.Stage{*child("enrich")}
			}
			row.change(g)
			recorder, now := &pass.Recorder{}, row.now.Add(-g.failing)
			r := &Reconciler{Controller: lifecycle.Controller{
				Recorder: &pass.Recorder{}, Now: func() time.Time { return now }, CleanupTimeout: time.Minute,
			}, DrainTimeout: 10 * time.Minute}
			if g.failing > 0 {
				r.RetriesCleanup(g.stage, "consumers", silent)
			}
			r.Recorder, now = recorder, row.now
			result, err := lifecycle.Again(r.lookAt(t, g))
			deletions.Check(t, row.want, pass.Got{Conditions: g.stage.Status.Conditions, Events: recorder, Result: result, Err: err})
		})
	}
}

// lookAt is finalize without a client.
func (r *Reconciler) lookAt(t *testing.T, g *goodbye) (reconcile.Result, error) {
	t.Helper()
	old := g.stage.DeepCopy()
	waits := false
	if g.err == nil {
		if v := r.waitsFor(t.Context(), g.leftover, g.in); v != nil {
			waits = true
			status.Set(&g.stage.Status.Conditions, g.stage.Generation, r.Now(), "", "", *v)
			r.EventTurned(g.stage, old)
		}
	}
	wait, err := r.afterDrain(t.Context(), g.stage, waits, g.err)
	if wait == 0 && err == nil {
		wait = r.released(t.Context(), g.stage, g.deleting)
	}
	return reconcile.Result{RequeueAfter: wait}, err
}

var deletions = pass.Table{Healthy: []string{"Accepted True Accepted"}}
