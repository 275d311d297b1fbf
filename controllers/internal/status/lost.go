package status

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"millrace.dev/millrace/api/v1alpha1"
)

// Lost lets through updates that take the status away, as a replace by hand or a restore does: it has to be written
// again, and nothing else would tell.
func Lost() predicate.Predicate {
	has := func(o client.Object) bool {
		return meta.FindStatusCondition(*ConditionsOf(o), v1alpha1.ConditionReady) != nil
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return has(e.ObjectOld) && !has(e.ObjectNew) }}
}

// ConditionsOf are those of a Pipeline or Stage; other objects have none.
func ConditionsOf(o client.Object) *[]metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.Pipeline:
		return &o.Status.Conditions
	case *v1alpha1.Stage:
		return &o.Status.Conditions
	}
	return &[]metav1.Condition{}
}
