package pipeline

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/test/pass"
)

// TestDeletionTable says what a Pipeline tells people whose Stages are gone, and when it looks again. "on event" is that it goes.
func TestDeletionTable(t *testing.T) {
	for name, row := range map[string]struct {
		err error
		// failing is for how long it has failed already.
		failing time.Duration
		want    pass.Want
	}{
		"its streams are deleted, or kept":   {nil, 0, pass.Want{Next: "on event"}},
		"NATS does not answer":               {silent, 0, pass.Want{Events: "Warning NATSUnreachable", Next: "after 2s"}},
		"NATS has not answered for a while":  {silent, 59 * time.Second, pass.Want{Events: "Warning NATSUnreachable", Next: "after 2s"}},
		"NATS has not answered for too long": {silent, time.Minute, pass.Want{Events: "Warning Retained", Next: "on event"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, now, recorder := healthy(t).Pipeline, began, &pass.Recorder{}
			p.DeletionTimestamp = new(metav1.NewTime(began))
			r := &Reconciler{Controller: lifecycle.Controller{
				Recorder: &pass.Recorder{}, Now: func() time.Time { return now }, CleanupTimeout: time.Minute,
			}}
			if row.failing > 0 {
				r.released(t.Context(), p, silent)
			}
			r.Recorder, now = recorder, began.Add(row.failing)
			wait := r.released(t.Context(), p, row.err)
			row.want.Conditions = "Ready absent"
			pass.Table{}.Check(t, row.want, pass.Got{Events: recorder, Result: reconcile.Result{RequeueAfter: wait}})
		})
	}
}
