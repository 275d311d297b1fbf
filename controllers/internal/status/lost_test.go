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
	lost := status.Lost()
	ready := []metav1.Condition{{Type: v1alpha1.ConditionReady}}
	with, without := &v1alpha1.Stage{Status: v1alpha1.StageStatus{Conditions: ready}}, &v1alpha1.Stage{}
	for name, c := range map[string]struct {
		before, after client.Object
		want          bool
	}{
		"taken away": {with, without, true},
		"a Pipeline": {&v1alpha1.Pipeline{Status: v1alpha1.PipelineStatus{Conditions: ready}}, &v1alpha1.Pipeline{}, true},
		"kept":       {with, with, false},
		"written":    {without, with, false},
		"never had":  {without, without, false},
	} {
		if got := lost.Update(event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
