package status_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/status"
)

func TestLost(t *testing.T) {
	lost := status.Lost(func(o client.Object) []metav1.Condition { return o.(*v1alpha1.Stage).Status.Conditions })
	with := &v1alpha1.Stage{Status: v1alpha1.StageStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady}}}}
	without := &v1alpha1.Stage{}
	for name, c := range map[string]struct {
		before, after *v1alpha1.Stage
		want          bool
	}{
		"taken away": {with, without, true},
		"kept":       {with, with, false},
		"written":    {without, with, false},
		"never had":  {without, without, false},
	} {
		if got := lost.Update(event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
